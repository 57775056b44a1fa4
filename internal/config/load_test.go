package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string, env ...string) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text), env)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func problemsOf(t *testing.T, text string, env ...string) string {
	t.Helper()
	_, err := Parse("test.yaml", []byte(text), env)
	if err == nil {
		t.Fatalf("loaded %s", text)
	}
	return err.Error()
}

// writeFiles makes a directory with these files and returns its path.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDefaults(t *testing.T) {
	c := Default()
	if c.Server.Host != "0.0.0.0" || c.Server.Port != 8080 || c.Server.ReadTimeout != Duration(30*time.Second) ||
		c.Server.MaxHeaderBytes != 16384 || !c.Server.Watch || c.Server.Shutdown.Delay != Duration(5*time.Second) {
		t.Errorf("server: %+v", c.Server)
	}
	if !c.Admin.Enabled || c.Admin.Host != "127.0.0.1" || c.Admin.Port != 8081 || c.Admin.ExposeOnGateway {
		t.Errorf("admin: %+v", c.Admin)
	}
	if c.Observability.AccessLog.Sample != 1 || !c.Observability.AccessLog.AlwaysLogErrors || c.Observability.Log.Level != "info" {
		t.Errorf("observability: %+v", c.Observability)
	}
	c = parse(t, `
routes: [{path: /, targets: [{url: "http://a"}], health_check: {path: /h}}]`)
	r := c.Routes[0]
	retries := Retries{
		Attempts: 1, On: []string{"connect_failure"}, Methods: []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"}, IdempotencyKey: true,
		BackOff: BackOff{Base: Duration(25 * time.Millisecond), Max: Duration(250 * time.Millisecond)}, MaxRetryAfter: Duration(time.Second),
		Budget: RetryBudget{Percent: 20, Min: 3},
	}
	if !reflect.DeepEqual(r.Retries, retries) || r.EncodedSlashes != "reject" ||
		r.UpstreamHost != "preserve" || r.Timeout != 0 || r.Targets[0].Weight != 1 {
		t.Errorf("route: %+v", r)
	}
	if want := []StatusRange{{200, 399}}; !slices.Equal(r.HealthCheck.ExpectedStatuses, want) || r.HealthCheck.Rise != 2 {
		t.Errorf("health check: %+v", r.HealthCheck)
	}
}

func TestEmptySectionsAreAbsent(t *testing.T) {
	c := parse(t, "server:\nroutes:\nadmin: {tls: }\nupstreams: []\nplugins:\n")
	if !reflect.DeepEqual(c.Redacted(), Default().Redacted()) {
		t.Errorf("got %v", c.Redacted())
	}
	parse(t, "")
	parse(t, "# nothing but a comment\n")
	parse(t, "---\n")
}

func TestInlineUpstream(t *testing.T) {
	c := parse(t, `
upstreams: [{name: u, targets: [{url: "http://b"}]}]
routes:
  - {name: own, path: /, targets: [{url: "HTTP://A:80/", weight: 2}], balance: {algorithm: random}}
  - {path: /u, upstream: u}`)
	u := c.InlineUpstream(0)
	if u.Name != "route:own" || u.Targets[0] != (Target{URL: "http://a:80", Weight: 2}) || u.Balance.Algorithm != "random" ||
		u.Pool.MaxConnections != 1024 || u.ConnectTimeout != Duration(2*time.Second) {
		t.Errorf("got %+v", u)
	}
	if c.InlineUpstream(1) != nil {
		t.Error("a route with a named upstream has an inline one")
	}
}

func TestRouteNames(t *testing.T) {
	c := parse(t, `
routes:
  - {path: /a, respond: {}}
  - {path: /a, methods: [GET], respond: {}}
  - {name: "/a#2", path: /b, respond: {}}
  - {hosts: [X.example.com], path: /a, respond: {}}
  - {path: '~/a\d "x"', respond: {}}`)
	var got []string
	for _, r := range c.Routes {
		got = append(got, r.Name)
	}
	want := []string{"/a", "/a#3", "/a#2", "x.example.com/a", "~/a_d__x_"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIncludes(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"gateway.yaml":     "include: [more/*.yaml, plain.yaml, \"*.yaml\", none/*.yaml]\nroutes: [{name: main, path: /, respond: {}}]\n",
		"plain.yaml":       "routes: [{name: plain, path: /p, upstream: shared}]\n",
		"more/b.yaml":      "\nroutes:\n  - {name: b, path: /b, respond: {}}\n",
		"more/a.yaml":      "include: [deep/x.yaml, ../plain.yaml]\nroutes: [{name: a, path: /a, respond: {}}]\n",
		"more/deep/x.yaml": "upstreams: [{name: shared, targets: [{url: \"http://x\"}]}]\n",
	})
	c, err := Load(filepath.Join(dir, "gateway.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names, files []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	if want := []string{"main", "a", "plain", "b"}; !slices.Equal(names, want) {
		t.Errorf("routes %q, want %q", names, want)
	}
	for _, f := range Files(c) {
		rel, _ := filepath.Rel(dir, f)
		files = append(files, rel)
	}
	if want := []string{"gateway.yaml", "more/a.yaml", "more/deep/x.yaml", "plain.yaml", "more/b.yaml"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if want := []string{filepath.Join(dir, "more"), dir, filepath.Join(dir, "none")}; !slices.Equal(Dirs(c), want) {
		t.Errorf("dirs %q, want %q", Dirs(c), want)
	}
	doc, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if whole := parse(t, string(doc)); len(whole.Routes) != 4 || len(whole.Upstreams) != 1 || len(whole.Include) != 0 {
		t.Errorf("written as\n%s", doc)
	}
	o := c.Routes[3].Origin
	if filepath.Base(o.File) != "b.yaml" || o.Line != 3 || o.Column != 5 || o.Path != "routes[0]" {
		t.Errorf("origin %+v", o)
	}
}

func TestProblemAt(t *testing.T) {
	c := parse(t, `
upstreams:
  - name: u
    targets: [{url: "http://a"}]
routes:
  - path: /
    upstream: u
    headers:
      request: {remove: [A]}`)
	f := func(p Problem, want string) {
		t.Helper()
		if p.String() != want {
			t.Errorf("got %s, want %s", p, want)
		}
	}
	f(c.ProblemAt(0, "path", "is shadowed", true), "test.yaml:6:11: warning: routes[0].path: is shadowed")
	f(c.ProblemAt(0, "headers.request", "no", false), "test.yaml:9:7: routes[0].headers.request: no")
	f(c.ProblemAt(0, "methods[1]", "no", false), "test.yaml:6:5: routes[0].methods[1]: no")
	f(c.ProblemAt(0, "", "no", false), "test.yaml:6:5: routes[0]: no")
	f(c.UpstreamProblemAt(0, "targets", "no", false), "test.yaml:4:14: upstreams[0].targets: no")
}

func TestEnvironmentInValues(t *testing.T) {
	c := parse(t, `
server: {port: "${PORT}", host: "${HOST:-127.0.0.1}", watch: "${WATCH:-false}", request_id: {header: "${EMPTY:-X-Id}"}}
routes:
  - path: /
    targets: [{url: "http://${BACKEND}:3000"}]
    headers:
      request:
        set: {X-A: "${VALUE}/${client_ip}", X-B: "$${VALUE}", X-C: "${TRICK}"}
  - path: /b
    respond: {body: "$${VALUE} ${lower} ${VALUE} $$${VALUE} $5"}
  - path: /c
    rewrite: {regex: "^/(?P<x>.*)$", replacement: "/${x}/${1}/$1"}
    targets: [{url: "http://a"}]
`, "PORT=9000", "BACKEND=api", "VALUE=v", "TRICK=${host}", "EMPTY=")
	if c.Server.Port != 9000 || c.Server.Host != "127.0.0.1" || c.Server.Watch || c.Server.RequestID.Header != "X-Id" {
		t.Errorf("server: %+v", c.Server)
	}
	set := c.Routes[0].Headers.Request.Set
	if set["X-A"] != "v/${client_ip}" || set["X-B"] != "$${VALUE}" || set["X-C"] != "$${host}" {
		t.Errorf("templates: %q", set)
	}
	if got := c.Routes[1].Respond.Body; got != "${VALUE} ${lower} v $${VALUE} $5" {
		t.Errorf("body: %q", got)
	}
	if got := c.Routes[2].Rewrite.Replacement; got != "/${x}/${1}/$1" {
		t.Errorf("replacement: %q", got)
	}
	if got := c.Routes[0].Targets[0].URL; got != "http://api:3000" {
		t.Errorf("target: %q", got)
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	c := parse(t, "server: {port: 1, read_timeout: 5s}",
		"VELOCITY_HOST=127.0.0.2", "VELOCITY_PORT=2", "VELOCITY_SERVER__PORT=3", "VELOCITY_LOG_LEVEL=debug",
		"VELOCITY_SERVER__READ_TIMEOUT=10s", "VELOCITY_SERVER__TRUSTED_PROXIES=10.0.0.0/8, ::1",
		"VELOCITY_SERVER__REQUEST_ID__HEADER=X-Id", "VELOCITY_ADMIN__TOKEN=a-token-of-sufficient-length",
		"VELOCITY_SERVER__IDLE_TIMEOUT=", "VELOCITY_VERSION=5", "OTHER__THING=x")
	s := c.Server
	if s.Host != "127.0.0.2" || s.Port != 3 || s.ReadTimeout != Duration(10*time.Second) || s.RequestID.Header != "X-Id" ||
		s.IdleTimeout != Duration(75*time.Second) || fmt.Sprint(s.TrustedProxies) != "[10.0.0.0/8 ::1/128]" {
		t.Errorf("server: %+v", s)
	}
	if c.Observability.Log.Level != "debug" || c.Admin.Token.Reveal() != "a-token-of-sufficient-length" {
		t.Errorf("log %+v, token %q", c.Observability.Log, c.Admin.Token.Reveal())
	}
}

func TestKubernetesServiceLinkIsIgnored(t *testing.T) {
	c := parse(t, "", "VELOCITY_PORT=tcp://10.0.0.1:8080")
	if c.Server.Port != 8080 || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Message, "enableServiceLinks") {
		t.Errorf("port %d, warnings %v", c.Server.Port, c.Warnings)
	}
}

// TestOverriddenMistakeIsStillOne keeps a broken document from passing only
// because this machine's environment hides the broken value.
func TestOverriddenMistakeIsStillOne(t *testing.T) {
	got := problemsOf(t, "server: {port: x}", "VELOCITY_PORT=80")
	if want := `test.yaml:1:16: server.port: expected a whole number, got "x"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	const token = "correct-horse-battery"
	dir := writeFiles(t, map[string]string{
		"gateway.yaml": `
admin: {token_file: secrets/token}
routes:
  - path: /
    targets: [{url: "http://a"}]
    health_check: {path: /h, headers: {X-Api-Key: correct-horse-battery}}
    headers: {request: {set: {Authorization: "Bearer correct-horse-battery", X-Plain: shown}}}`,
		"secrets/token": token + "\r\n",
	})
	c, err := Load(filepath.Join(dir, "gateway.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Admin.Token.Reveal() != token {
		t.Errorf("token is %q", c.Admin.Token.Reveal())
	}
	if files := Files(c); len(files) != 2 || filepath.Base(files[1]) != "token" {
		t.Errorf("files %q", files)
	}
	tree, err := json.Marshal(c.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := json.Marshal(c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(tree), string(doc), string(admin), fmt.Sprintf("%v %+v %#v %s", c.Admin, c.Admin, c.Admin, c.Admin.Token)} {
		if strings.Contains(text, token) {
			t.Errorf("shows the secret: %s", text)
		}
	}
	if !strings.Contains(string(tree), `"X-Plain":"shown"`) || !strings.Contains(string(tree), `"token":"[redacted]"`) {
		t.Errorf("redacted: %s", tree)
	}
}

func TestHash(t *testing.T) {
	files := map[string]string{
		"gateway.yaml": "include: [\"r/*.yaml\"]\nadmin: {token_file: token}\nserver: {host: \"${HOST:-::}\"}\n",
		"r/a.yaml":     "routes: [{path: /, respond: {}}]\n",
		"token":        "a-token-of-sufficient-length",
	}
	load := func(env ...string) string {
		t.Helper()
		dir := writeFiles(t, files)
		t.Chdir(dir)
		c, err := Load("gateway.yaml", env)
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash()
	}
	first := load()
	if load() != first || load("UNRELATED=1") != first {
		t.Error("equal configurations have different hashes")
	}
	seen := map[string]string{first: "nothing"}
	differs := func(what, hash string) {
		t.Helper()
		if before, ok := seen[hash]; ok {
			t.Errorf("changing %s gives the hash of changing %s", what, before)
		}
		seen[hash] = what
	}
	differs("a variable that the document reads", load("HOST=::1"))
	differs("an override", load("VELOCITY_PORT=9"))
	files["token"] = "another-token-of-sufficient-length"
	differs("a secret", load())
	files["r/b.yaml"] = "routes: [{path: /b, respond: {}}]\n"
	differs("the files of a glob", load())
}

func TestWarnings(t *testing.T) {
	c := parse(t, `
admin: {host: "::", token: short}
upstreams: [{name: idle, targets: [{url: "http://a"}]}]`)
	want := []string{
		"test.yaml:2:15: warning: admin.host: :: can be reached from other machines and the token travels unencrypted; set admin.tls",
		"test.yaml:2:28: warning: admin.token: is shorter than 16 characters and may be guessed",
		`test.yaml:3:13: warning: upstreams[0]: no route uses upstream "idle"`,
	}
	if got := c.Warnings.Error(); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestSwitchedOffReservedSectionLoads(t *testing.T) {
	parse(t, "observability: {tracing: {enabled: false}}")
	parse(t, "routes: [{path: /, respond: {}, cache: {enabled: false, ttl: 1m}}]")
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	_, err := Load(t.TempDir(), nil)
	var problems Problems
	if !errors.As(err, &problems) || problems[0].Message != "not a regular file" {
		t.Errorf("directory: %v", err)
	}
	if _, err = Load(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil || !strings.HasSuffix(err.Error(), "no such file or directory") {
		t.Errorf("missing: %v", err)
	}
}

// TestAliasesOfAliasesEnd builds a document of a few hundred bytes that stands
// for a billion values.
func TestAliasesOfAliasesEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("upstreams:\n- &u\n  name: u\n  targets: &t\n")
	b.WriteString("  - {url: \"http://a\"}\n" + strings.Repeat("  - {url: \"http://a\"}\n", 2000))
	b.WriteString(strings.Repeat("- *u\n", 10000))
	if got := problemsOf(t, b.String()); !strings.Contains(got, "aliases stand for too many values") {
		t.Errorf("got %.200s", got)
	}
}
