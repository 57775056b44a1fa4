package e2e

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
)

func TestCheckSaysWhatIsGood(t *testing.T) {
	t.Parallel()
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", "routes:\n  - {path: /a, respond: {body: a}}\n")
	r := testkit.Run(t, nil, "check", "--config", path)
	if want := path + ": ok, 1 route, 0 named upstreams\n"; r.Code != 0 || r.Stdout != want || r.Stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 0 and %q", r.Code, r.Stdout, r.Stderr, want)
	}
}

func TestCheckSaysAllThatIsBad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := testkit.WriteFile(t, dir, "gateway.yaml", `include: [routes.yaml]
server:
  prot: 8080
  read_timeout: soon
`)
	routes := testkit.WriteFile(t, dir, "routes.yaml", `routes:
  - path: /a/*
    upstream: nowhere
  - path: /b
    respond: {status: 99}
`)
	r := testkit.Run(t, nil, "check", "--config", path)
	want := []string{
		path + `:3:3: server.prot: unknown key; did you mean "port"?`,
		path + `:4:17: server.read_timeout: expected a duration such as 30s or 1m30s, got "soon"`,
		routes + `:3:15: routes[0].upstream: no upstream is named "nowhere"`,
		routes + `:5:23: routes[1].respond.status: must be at least 200`,
		"velocity: 4 problems in the configuration",
	}
	if got := strings.Split(strings.TrimSpace(r.Stderr), "\n"); !slices.Equal(got, want) {
		t.Errorf("stderr:\n%s\nwant:\n%s", r.Stderr, strings.Join(want, "\n"))
	}
	if r.Code != 1 || r.Stdout != "" {
		t.Errorf("exit code %d, stdout %q; want 1 and nothing", r.Code, r.Stdout)
	}
	// A start refuses in the same words.
	if started := testkit.Run(t, nil, "--config", path); started.Code != 1 || started.Stderr != r.Stderr {
		t.Errorf("starting with it: exit code %d, stderr:\n%s", started.Code, started.Stderr)
	}
}

func TestCheckWarns(t *testing.T) {
	t.Parallel()
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", `routes:
  - {name: first, path: /a, respond: {body: a}}
  - {name: second, path: /a, respond: {body: b}}
`)
	f := func(wantCode int, args ...string) {
		t.Helper()
		r := testkit.Run(t, nil, append([]string{"check", "--config", path}, args...)...)
		if r.Code != wantCode {
			t.Errorf("%q: exit code %d, want %d", args, r.Code, wantCode)
		}
		if !strings.HasPrefix(r.Stderr, path+":3:") || !strings.Contains(r.Stderr, "warning: routes[1].path:") || !strings.Contains(r.Stderr, `"first"`) {
			t.Errorf("%q: stderr %q does not say where and by what the second route is shadowed", args, r.Stderr)
		}
	}
	f(0)
	f(1, "--strict")
}

const explained = `plugins:
  - {name: cors, config: {allowed_origins: ["https://a.example"]}}
routes:
  - {name: users, path: /api/v1/*, methods: [GET, POST], targets: [{url: "http://127.0.0.1:1"}], headers: {request: {set: {X-A: b}}}}
  - {name: canary, path: /api/v1/*, methods: [GET], match: {headers: [{name: X-Canary, exact: "1"}]}, targets: [{url: "http://127.0.0.1:2"}]}
  - {name: local, path: /api/v1/*, methods: [GET], match: {client_cidrs: [10.0.0.0/8]}, targets: [{url: "http://127.0.0.1:3"}]}
`

func TestExplainInWords(t *testing.T) {
	t.Parallel()
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", explained)
	f := func(wantCode int, want []string, args ...string) {
		t.Helper()
		r := testkit.Run(t, nil, append([]string{"explain", "--config", path}, args...)...)
		if r.Code != wantCode {
			t.Errorf("%q: exit code %d, want %d; stderr %q", args, r.Code, wantCode, r.Stderr)
		}
		for _, w := range want {
			if !strings.Contains(r.Stdout, w) {
				t.Errorf("%q: stdout does not have %q:\n%s", args, w, r.Stdout)
			}
		}
	}
	f(0, []string{
		"path    /api/v1/users\n", "route   users\n", "1. arrive: cors\n", "2. shape: headers\n", "3. forward: route:users\n",
		"* users", path + ":4", "path matches, method POST not in [GET, HEAD]",
	}, "POST", "http://h/api/v1/../v1/users")
	f(0, []string{"route   canary\n", `matches, but fewer header matchers than "canary"`, "client 127.0.0.1 is in none of [10.0.0.0/8]"}, "GET", "http://h/api/v1/users", "-H", "X-Canary: 1")
	f(0, []string{"route   local\n", `header X-Canary is absent, but must be "1"`}, "--client", "10.1.2.3", "get", "http://h/api/v1/users")
	f(3, []string{"answer  404 no_route\n", "path /api/v1/* does not match /nope"}, "GET", "http://h/nope")
	f(3, []string{"answer  405 method_not_allowed, Allow: GET, HEAD, POST\n", "method DELETE not in [GET, HEAD, POST]"}, "DELETE", "http://h/api/v1/users")
	f(2, nil, "GET", "/no/host")
	f(2, nil, "GET", "http://h/", "--client", "nobody")
}

func TestExplainAsJSON(t *testing.T) {
	t.Parallel()
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", explained)
	r := testkit.Run(t, nil, "explain", "--config", path, "--json", "GET", "http://h/api/v1/users", "-H", "X-Canary: 1")
	var e struct {
		Route      string
		Phases     []string
		Candidates []struct {
			Route, Origin, Reason string
			Won                   bool
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &e); err != nil {
		t.Fatalf("decode %q: %v", r.Stdout, err)
	}
	if r.Code != 0 || e.Route != "canary" || len(e.Phases) != 2 || len(e.Candidates) != 3 {
		t.Fatalf("exit code %d, explanation %+v", r.Code, e)
	}
	for _, c := range e.Candidates {
		if c.Won != (c.Route == "canary") || c.Reason == "" || !strings.HasPrefix(c.Origin, path+":") {
			t.Errorf("candidate %+v", c)
		}
	}
}

func TestSchemaIsThatOfTheRepository(t *testing.T) {
	t.Parallel()
	r := testkit.Run(t, nil, "schema")
	if r.Code != 0 || !json.Valid([]byte(r.Stdout)) {
		t.Errorf("exit code %d, valid JSON: %v", r.Code, json.Valid([]byte(r.Stdout)))
	}
	if r.Stdout != example(t, "schema.json") {
		t.Error("it differs from configs/schema.json: run make docs")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := testkit.Run(t, nil, "version")
	if r.Code != 0 || !strings.HasPrefix(r.Stdout, "velocity ") || !strings.Contains(r.Stdout, "\ngo       go1.") {
		t.Errorf("exit code %d, stdout %q", r.Code, r.Stdout)
	}
	if flag := testkit.Run(t, nil, "--version"); flag.Code != 0 || flag.Stdout != r.Stdout {
		t.Errorf("--version: exit code %d, stdout %q, want %q", flag.Code, flag.Stdout, r.Stdout)
	}
}

func TestHelpAndExitCodes(t *testing.T) {
	t.Parallel()
	f := func(wantCode int, wantStdout, wantStderr string, args ...string) {
		t.Helper()
		r := testkit.Run(t, nil, args...)
		if r.Code != wantCode || !strings.Contains(r.Stdout, wantStdout) || !strings.Contains(r.Stderr, wantStderr) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	f(0, "Exit codes:", "", "--help")
	f(0, "velocity check --config FILE", "", "help", "check")
	f(2, "", `unknown command "chekc"`, "chekc")
	f(2, "", "not defined: -nope", "--nope")
	f(1, "", "missing.yaml: no such file or directory", "--config", "missing.yaml")
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", settings)
	f := func(variable, want string) {
		t.Helper()
		r := testkit.Run(t, []string{variable + "=" + port}, "--config", path)
		if r.Code != 3 || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, "address already in use") {
			t.Errorf("%s: exit code %d, stderr %q", variable, r.Code, r.Stderr)
		}
	}
	f("VELOCITY_PORT", "velocity: listen for traffic (server.host, server.port): listen tcp4 127.0.0.1:"+port)
	f("VELOCITY_ADMIN__PORT", "velocity: listen for management (admin.host, admin.port): listen tcp4 127.0.0.1:"+port)
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	g, path := start(t, settings+"routes: [{path: /a, respond: {body: a}}]\n")
	_, port, _ := net.SplitHostPort(g.Addr)
	f := func(want int, args ...string) {
		t.Helper()
		r := testkit.Run(t, []string{"VELOCITY_PORT=" + port}, append([]string{"healthcheck", "--config", path}, args...)...)
		if r.Code != want {
			t.Errorf("%q: exit code %d, want %d; stderr %q", args, r.Code, want, r.Stderr)
		}
	}
	f(0)
	f(0, "--ready")
	g.Stop(t)
	f(3)
	f(3, "--ready")
}

// The first thing that a newcomer does.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	echo := testkit.StartEcho(t)
	dir := t.TempDir()
	routes := example(t, "routes.yaml")
	const target = "127.0.0.1:3000"
	if strings.Count(routes, target) != 1 {
		t.Fatalf("configs/routes.yaml does not send to %s once", target)
	}
	testkit.WriteFile(t, dir, "routes.yaml", strings.Replace(routes, target, echo.Addr, 1))
	path := testkit.WriteFile(t, dir, "gateway.yaml", example(t, "gateway.yaml"))
	g := testkit.StartGateway(t, path, "VELOCITY_HOST=127.0.0.1", "VELOCITY_PORT=0", "VELOCITY_ADMIN__PORT=0")

	r := testkit.Get(t, g.Addr, "/api/v1/users", "X-Request-Id: first")
	var seen struct {
		Path    string
		Headers []string
	}
	r.JSON(t, &seen)
	if r.Status != 200 || seen.Path != "/api/v1/users" || r.Header.Get("X-Echo-Instance") != "sample" {
		t.Errorf("status %d, headers %v, body %s", r.Status, r.Header, r.Body)
	}
	if !slices.Contains(seen.Headers, "X-Gateway: velocity") {
		t.Errorf("the upstream saw %q, without X-Gateway", seen.Headers)
	}
	if r := testkit.Get(t, g.Addr, "/robots.txt"); r.Body != "User-agent: *\nDisallow: /\n" {
		t.Errorf("robots.txt: %q", r.Body)
	}
	testkit.Eventually(t, testkit.Patience, "the access log", func() bool {
		return strings.Contains(g.Stdout(), `"request_id":"first"`)
	})
	if code := echo.Stop(t); code != 0 {
		t.Errorf("echo ended with %d", code)
	}
	if r := testkit.Get(t, g.Addr, "/api/v1/users"); r.Status != 502 && r.Status != 503 {
		t.Errorf("status %d without an upstream", r.Status)
	}
}
