package docs_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that happens by itself.
const patience = 20 * time.Second

// velocity returns the binary: VELOCITY_BIN, or one that is built now.
func velocity(t *testing.T) string {
	t.Helper()
	if name := os.Getenv("VELOCITY_BIN"); name != "" {
		return name
	}
	name := filepath.Join(t.TempDir(), "velocity")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", name, "../cmd/velocity")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build velocity: %v\n%s", err, out)
	}
	return name
}

// TestSessions runs what every page shows as a session, each page in a directory of its own, with free ports in place of
// those that it names.
func TestSessions(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is missing; on Debian or Ubuntu: sudo apt-get install -y curl")
	}
	binary := velocity(t)
	ran := 0
	for _, p := range pages(t) {
		steps := 0
		for _, b := range p.blocks {
			if b.is("console") {
				steps++
			}
		}
		if steps == 0 {
			continue
		}
		ran++
		t.Run(p.name, func(t *testing.T) { newSession(t, binary).play(p) })
	}
	if ran < 3 {
		t.Errorf("only %d pages have a session", ran)
	}
}

// session is a shell as far as the pages need one.
type session struct {
	t    *testing.T
	dir  string
	to   *strings.Replacer // ports of the page to free ones
	from *strings.Replacer // and back
	jobs []*exec.Cmd
}

func newSession(t *testing.T, binary string) *session {
	t.Helper()
	s := &session{t: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(s.dir, "bin", "velocity")); err != nil {
		t.Fatal(err)
	}
	ports := []string{"3000", "3001", "8080", "8081"}
	var free []int
	for range ports {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // open until all are chosen, so that all differ
		free = append(free, ln.Addr().(*net.TCPAddr).Port)
	}
	slices.Sort(free) // what is ordered by address stands as on the page
	var to, from []string
	for i, port := range ports {
		to, from = append(to, port, strconv.Itoa(free[i])), append(from, strconv.Itoa(free[i]), port)
	}
	s.to, s.from = strings.NewReplacer(to...), strings.NewReplacer(from...)
	t.Cleanup(func() {
		for i := range s.jobs {
			s.kill(i, syscall.SIGKILL)
		}
	})
	return s
}

// play follows a page: files are written and commands run in the order in which they stand there.
func (s *session) play(p page) {
	for _, b := range p.blocks {
		switch {
		case b.is("yaml") && len(b.info) > 1 && strings.HasSuffix(b.info[1], ".yaml"):
			// The management listener has a port that no document names.
			text := s.to.Replace(b.text) + "\nadmin: {port: " + s.to.Replace("8081") + "}\n"
			if !strings.Contains("\n"+b.text, "\nserver:") {
				text += "server: {port: " + s.to.Replace("8080") + "}\n"
			}
			if err := os.WriteFile(filepath.Join(s.dir, b.info[1]), []byte(text), 0o600); err != nil {
				s.t.Fatal(err)
			}
		case b.is("console"):
			for _, step := range strings.Split("\n"+b.text, "\n$ ")[1:] {
				command, want, _ := strings.Cut(step, "\n")
				s.step(p.name+":"+strconv.Itoa(b.line), command, want, b.is("console", "eventually"))
			}
		}
	}
}

func (s *session) step(at, command, want string, eventually bool) {
	s.t.Helper()
	if job, ok := strings.CutPrefix(command, "kill %"); ok {
		n, err := strconv.Atoi(job)
		if err != nil || n > len(s.jobs) {
			s.t.Fatalf("%s: there is no job %s", at, job)
		}
		s.kill(n-1, syscall.SIGTERM)
		return
	}
	if line, ok := strings.CutSuffix(command, " &"); ok {
		s.start(at, line)
		return
	}
	want = pattern(strings.TrimRight(want, "\n"))
	deadline := time.Now().Add(patience)
	for {
		got := s.run(command)
		if regexp.MustCompile(want).MatchString(got) {
			return
		}
		if !eventually || time.Now().After(deadline) {
			s.t.Fatalf("%s: %s\nprints\n%s\nnot\n%s", at, command, got, want)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *session) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", s.to.Replace(line))
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+s.dir)
	return cmd
}

// run returns what a command prints, with the ports of the page.
func (s *session) run(line string) string {
	var out bytes.Buffer
	cmd := s.command(s.t.Context(), line)
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // what it printed tells; grep and check have exit codes of their own
	return strings.TrimRight(s.from.Replace(out.String()), "\r\n")
}

// start starts a job and waits until it can be talked to.
func (s *session) start(at, line string) {
	s.t.Helper()
	cmd := s.command(context.Background(), "exec "+line)
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%s: %v", at, err)
	}
	s.jobs = append(s.jobs, cmd)
	url := "http://127.0.0.1:8080/ready"
	if m := regexp.MustCompile(`--listen (\S+)`).FindStringSubmatch(line); m != nil {
		url = "http://" + m[1] + "/health"
	}
	for deadline := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) {
		if answer, err := http.Get(s.to.Replace(url)); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			logs, _ := os.ReadFile(filepath.Join(s.dir, "gateway.log"))
			s.t.Fatalf("%s: %s: not up after %v\n%s", at, line, patience, logs)
		}
	}
}

func (s *session) kill(i int, signal syscall.Signal) {
	if s.jobs[i].ProcessState != nil {
		return
	}
	_ = s.jobs[i].Process.Signal(signal) // it may have ended
	_ = s.jobs[i].Wait()                 // a signal is not a failure here
}

// varying is what differs from run to run. Longer forms come first.
var varying = regexp.MustCompile(`…|[0-9a-f]{64}|[0-9a-f]{32}|` +
	`\d{4}-\d\d-\d\dT[0-9:.]+Z|Date: [^\r\n]+|Content-Length: \d+|curl/[0-9.]+|127\.0\.0\.1:\d{5}\b`)

// pattern makes an expression of what a page shows, with room for what varies; … stands for anything, a line of it
// for any number of lines.
func pattern(shown string) string {
	var out strings.Builder
	out.WriteString(`(?s)\A`)
	for shown != "" {
		at := varying.FindStringIndex(shown)
		if at == nil {
			out.WriteString(regexp.QuoteMeta(shown))
			break
		}
		out.WriteString(regexp.QuoteMeta(shown[:at[0]]))
		switch match := shown[at[0]:at[1]]; {
		case match == "…":
			out.WriteString(`.*?`)
		case strings.Contains(match, ": "):
			name, _, _ := strings.Cut(match, ": ")
			out.WriteString(name + `: [^\r\n]+`)
		case strings.HasPrefix(match, "curl/"):
			out.WriteString(`curl/[0-9.]+`)
		case strings.HasPrefix(match, "127."):
			out.WriteString(`127\.0\.0\.1:\d+`)
		case strings.HasSuffix(match, "Z"):
			out.WriteString(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
		default:
			out.WriteString(`[0-9a-f]{` + strconv.Itoa(len(match)) + `}`)
		}
		shown = shown[at[1]:]
	}
	return strings.ReplaceAll(out.String(), "\n", `\r?\n`) + `\z`
}
