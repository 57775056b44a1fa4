//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"
)

func TestParseSize(t *testing.T) {
	f := func(s string, want int) {
		t.Helper()
		if got, err := parseSize(s); got != want || (err == nil) != (want > 0) {
			t.Errorf("parseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	f("13", 13)
	f("13B", 13)
	f("4KiB", 4096)
	f("1MiB", 1<<20)
	f("2MiB", 0)
	f("0", 0)
	f("-1", 0)
	f("", 0)
	f("KiB", 0)
	f("4kb", 0)
	f("9223372036854775807MiB", 0)
}

func TestParseFlags(t *testing.T) {
	opts, err := parseFlags([]string{"-quick", "-body", "4KiB"})
	if err != nil || opts.rounds != 2 || opts.duration != 2*time.Second || opts.body != 4096 {
		t.Errorf("got %+v, %v", opts, err)
	}
	for _, args := range [][]string{{"-duration", "1500ms"}, {"-rounds", "0"}, {"-connections", "0"}, {"-body", "x"}, {"extra"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("parseFlags(%q): no error", args)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	f := func(s string, want ...int) {
		t.Helper()
		if got, err := parseCPUList(s); !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("parseCPUList(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	f("0", 0)
	f("0-2,8", 0, 1, 2, 8)
	f("3-1")
	f("")
	f("a-b")
}

func TestParseStat(t *testing.T) {
	f := func(line string, want stat) {
		t.Helper()
		got, err := parseStat(line)
		if got != want || errors.Is(err, errStat) != (want == stat{}) {
			t.Errorf("parseStat(%q) = %+v, %v; want %+v", line, got, err, want)
		}
	}
	const rest = " S 7 1 1 0 -1 4194560 100 0 0 0 250 125 0 0 20 0 1 0 100 1 1\n"
	want := stat{pid: 42, parent: 7, user: 2500 * time.Millisecond, system: 1250 * time.Millisecond}
	f("42 (nginx)"+rest, want)
	f("42 (nginx: worker process)"+rest, want)
	f("42 (a) S 1 (b)"+rest, want)
	f("", stat{})
	f("42 nginx"+rest, stat{})
	f("42 )nginx("+rest, stat{})
	f("42 (nginx) S 7 1", stat{})
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) b) S 7 1 1 0 -1 4194560 100 0 0 0 250 125 0 0 20")
	f.Add("1 ()")
	f.Fuzz(func(t *testing.T, line string) {
		s, err := parseStat(line)
		if err != nil && s != (stat{}) {
			t.Errorf("an error and %+v", s)
		}
		if s.user < 0 || s.system < 0 {
			t.Errorf("negative time in %+v", s)
		}
	})
}

func TestUsageCoversDescendants(t *testing.T) {
	// The shell waits for the cat below it, which waits for its input.
	cmd := exec.Command("sh", "-c", "cat; true")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// When the first byte is back, cat runs.
	if _, err := input.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	tree := descendants(cmd.Process.Pid)
	if len(tree) != 2 || tree[0] != cmd.Process.Pid {
		t.Errorf("descendants of %d: %v, want it and cat", cmd.Process.Pid, tree)
	}
	total, err := (&process{cmd: cmd}).usage()
	if err != nil || total.ResidentKiB <= 0 {
		t.Errorf("usage: %+v, %v", total, err)
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := (&process{cmd: cmd}).usage(); err == nil {
		t.Error("usage of an ended process: no error")
	}
}

func TestParseWrk(t *testing.T) {
	got, err := parseWrk([]byte("Running 2s test\n\nresult {\"requests\":10,\"duration_us\":2000000,\"errors\":1,\"statuses\":2,\"p50_us\":3,\"p90_us\":4,\"p99_us\":5,\"max_us\":6}\n"))
	want := wrkResult{Requests: 10, DurationUs: 2000000, Errors: 1, Statuses: 2, P50Us: 3, P90Us: 4, P99Us: 5, MaxUs: 6}
	if got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, output := range []string{"", "unable to connect\n", "result {\n", "result {\"requests\":1,\"duration_us\":0}\n"} {
		if _, err := parseWrk([]byte(output)); err == nil {
			t.Errorf("parseWrk(%q): no error", output)
		}
	}
}

func TestSpreadOf(t *testing.T) {
	f := func(want spread, values ...float64) {
		t.Helper()
		if got := spreadOf(values); got != want {
			t.Errorf("spreadOf(%v) = %+v, want %+v", values, got, want)
		}
	}
	f(spread{})
	f(spread{Median: 3, Min: 3, Max: 3}, 3)
	f(spread{Median: 2, Min: 1, Max: 9}, 9, 1, 2)
	f(spread{Median: 2.5, Min: 1, Max: 9}, 9, 1, 2, 3)
}

// sample is a report in which Velocity used twice nginx's CPU in one round and as much in another, and a third was flagged.
func sample() *report {
	r := &report{
		Rivals: []*rival{{Name: "direct"}, {Name: "nginx", Baseline: "nginx", Version: "nginx 1"}, {Name: "velocity", Baseline: "nginx", logs: true, Command: "velocity --config x"}},
		Origin: &rival{Command: "nginx -c y"},
	}
	for round, cpu := range []float64{10, 20, 30} {
		r.Runs = append(
			r.Runs,
			run{Rival: "direct", Round: round, RequestsPerSecond: 90000},
			run{Rival: "nginx", Round: round, RequestsPerSecond: 50000, UserUs: 4, SystemUs: cpu - 4, ResidentKiB: 10240, Logged: 1},
			run{Rival: "velocity", Round: round, RequestsPerSecond: 40000, UserUs: 10, SystemUs: 10, Flagged: round == 2},
		)
	}
	r.summarise()
	return r
}

func TestSummaryTakesRatiosWithinARound(t *testing.T) {
	s := sample().Summary
	if got, want := s[2].CPURatio, (spread{Median: 1.5, Min: 1, Max: 2}); got != want {
		t.Errorf("ratio to nginx: %+v, want %+v", got, want)
	}
	if s[2].Runs != 2 || s[2].Flagged != 1 {
		t.Errorf("velocity: %d runs and %d flagged, want 2 and 1", s[2].Runs, s[2].Flagged)
	}
	if got := s[0].CPURatio; got != (spread{}) {
		t.Errorf("without a proxy there is no ratio, got %+v", got)
	}
}

func TestReportsAreWritten(t *testing.T) {
	base := filepath.Join(t.TempDir(), "results", "x")
	if err := sample().write(base); err != nil {
		t.Fatal(err)
	}
	markdown, err := os.ReadFile(base + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| velocity | 40000 (40000-40000) |", "| 1.50 |", "| 0.0% | 2 (1 flagged) |", "- nginx 1\n", "    velocity --config x   # velocity\n", "below 100% the load",
	} {
		if !strings.Contains(string(markdown), want) {
			t.Errorf("no %q in\n%s", want, markdown)
		}
	}
	document, err := os.ReadFile(base + ".json")
	if err != nil || !strings.Contains(string(document), `"cpu_ratio"`) {
		t.Errorf("json: %v in\n%s", err, document)
	}
}

// Rendering is checked here; that the programs accept the result shows when the comparison runs.
func TestTemplatesRender(t *testing.T) {
	for _, name := range []string{"velocity.yaml", "nginx.conf", "haproxy.cfg", "backend.conf"} {
		for _, logs := range []string{"", "stdout"} {
			dir := t.TempDir()
			f := &field{opts: options{body: 4097}, backend: &rival{port: 1234}}
			path := filepath.Join(dir, name)
			if err := f.render(&rival{Name: name, template: name, port: 5678, log: logs}, dir, path, 9012); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), "127.0.0.1") || !strings.Contains(string(text), "5678") || strings.Contains(string(text), "<no value>") {
				t.Errorf("%s: incomplete:\n%s", name, text)
			}
		}
	}
	if _, err := template.ParseFS(templates, "rivals/*"); err != nil {
		t.Error(err)
	}
}

func TestCountLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", 1<<19)
	if err := os.WriteFile(path, []byte("a\n\n"+long+"\nunfinished"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := countLines(path); n != 3 || err != nil {
		t.Errorf("got %d, %v; want 3", n, err)
	}
	if n, err := countLines(path + ".absent"); n != 0 || err != nil {
		t.Errorf("absent file: got %d, %v; want 0", n, err)
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 20 {
		t.Errorf("repeated ports in %v", ports)
	}
}
