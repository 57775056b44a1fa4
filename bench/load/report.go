//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the JSON document, and what the table and the Markdown are made from.
type report struct {
	Started  time.Time `json:"started"`
	Machine  machine   `json:"machine"`
	Settings settings  `json:"settings"`
	Rivals   []*rival  `json:"rivals"`
	Origin   *rival    `json:"origin"`
	Load     string    `json:"load"`
	Wrk      string    `json:"wrk"`
	Summary  []summary `json:"summary"`
	Runs     []run     `json:"runs"`
}

type machine struct {
	CPU     string    `json:"cpu"`
	Cores   int       `json:"cores"`
	Kernel  string    `json:"kernel"`
	Memory  string    `json:"memory"`
	Virtual bool      `json:"virtual"`
	Pinned  placement `json:"pinned"`
}

type settings struct {
	DurationSeconds int `json:"duration_seconds"`
	WarmupSeconds   int `json:"warmup_seconds"`
	Rounds          int `json:"rounds"`
	Connections     int `json:"connections"`
	BodyBytes       int `json:"body_bytes"`
}

// summary is what the runs of one rival come to.
type summary struct {
	Rival             string `json:"rival"`
	Runs              int    `json:"runs"`
	Flagged           int    `json:"flagged"`
	RequestsPerSecond spread `json:"requests_per_second"`
	P50Us             spread `json:"p50_us"`
	P90Us             spread `json:"p90_us"`
	P99Us             spread `json:"p99_us"`
	MaxUs             spread `json:"max_us"`
	CPUUs             spread `json:"cpu_us_per_request"`
	UserUs            spread `json:"user_us_per_request"`
	SystemUs          spread `json:"system_us_per_request"`
	Busy              spread `json:"busy"`
	ResidentKiB       spread `json:"resident_kib"`
	Logged            spread `json:"logged"`
	// CPURatio is CPU time per request over the baseline's in the same round.
	CPURatio spread `json:"cpu_ratio"`
}

// spread is the median of some values and what they lie between; all zero without values.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

func newReport(ctx context.Context, opts options, f *field, cpus placement) *report {
	load := strings.Join(f.wrkCommand(opts.duration, "URL"), " ")
	return &report{
		Started: time.Now(),
		Machine: describeMachine(ctx, cpus),
		Settings: settings{
			DurationSeconds: int(opts.duration.Seconds()), WarmupSeconds: int(opts.warmup.Seconds()), Rounds: opts.rounds,
			Connections: opts.connections, BodyBytes: opts.body,
		},
		Rivals: f.rivals,
		Origin: f.backend,
		Load:   strings.ReplaceAll(load, f.dir, "$TMP"),
		Wrk:    version("wrk", "-v"),
	}
}

func describeMachine(ctx context.Context, cpus placement) machine {
	m := machine{Cores: runtime.NumCPU(), Pinned: cpus}
	// What cannot be read is left empty: the report is worth having without it.
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = statusField(string(text), "model name")
		m.Virtual = slices.Contains(strings.Fields(statusField(string(text), "flags")), "hypervisor")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, err := strconv.ParseFloat(strings.TrimSuffix(statusField(string(text), "MemTotal"), " kB"), 64); err == nil {
			m.Memory = fmt.Sprintf("%.1f GiB", kib/(1<<20))
		}
	}
	if out, err := exec.CommandContext(ctx, "uname", "-sr").Output(); err == nil {
		m.Kernel = strings.TrimSpace(string(out))
	}
	return m
}

// summarise fills Summary from Runs. Ratios are taken within a round, where both sides met the same conditions.
func (r *report) summarise() {
	type key struct {
		rival string
		round int
	}
	byRound := map[key]*run{}
	for i := range r.Runs {
		m := &r.Runs[i]
		if !m.Flagged {
			byRound[key{m.Rival, m.Round}] = m
		}
	}
	r.Summary = nil
	for _, rival := range r.Rivals {
		s := summary{Rival: rival.Name}
		var good []*run
		var ratios []float64
		for i := range r.Runs {
			m := &r.Runs[i]
			if m.Rival != rival.Name {
				continue
			}
			if m.Flagged {
				s.Flagged++
				continue
			}
			good = append(good, m)
			if base := byRound[key{rival.Baseline, m.Round}]; base != nil && base.cpuUs() > 0 {
				ratios = append(ratios, m.cpuUs()/base.cpuUs())
			}
		}
		over := func(value func(*run) float64) spread {
			values := make([]float64, len(good))
			for i, m := range good {
				values[i] = value(m)
			}
			return spreadOf(values)
		}
		s.Runs = len(good)
		s.RequestsPerSecond = over(func(m *run) float64 { return m.RequestsPerSecond })
		s.P50Us = over(func(m *run) float64 { return float64(m.P50Us) })
		s.P90Us = over(func(m *run) float64 { return float64(m.P90Us) })
		s.P99Us = over(func(m *run) float64 { return float64(m.P99Us) })
		s.MaxUs = over(func(m *run) float64 { return float64(m.MaxUs) })
		s.CPUUs = over((*run).cpuUs)
		s.UserUs = over(func(m *run) float64 { return m.UserUs })
		s.SystemUs = over(func(m *run) float64 { return m.SystemUs })
		s.Busy = over(func(m *run) float64 { return m.Busy })
		s.ResidentKiB = over(func(m *run) float64 { return float64(m.ResidentKiB) })
		s.Logged = over(func(m *run) float64 { return m.Logged })
		s.CPURatio = spreadOf(ratios)
		r.Summary = append(r.Summary, s)
	}
}

func (r *report) flagged() int {
	n := 0
	for i := range r.Runs {
		if r.Runs[i].Flagged {
			n++
		}
	}
	return n
}

// rows returns the table's cells, the heading first.
func (r *report) rows() [][]string {
	rows := [][]string{{"proxy", "req/s (min-max)", "p50", "p90", "p99", "max", "CPU µs/req (min-max)", "user+sys", "CPU/nginx", "busy", "RSS MiB", "logged", "runs"}}
	for i := range r.Summary {
		s := &r.Summary[i]
		row := []string{
			s.Rival,
			fmt.Sprintf("%.0f (%.0f-%.0f)", s.RequestsPerSecond.Median, s.RequestsPerSecond.Min, s.RequestsPerSecond.Max),
			micros(int64(s.P50Us.Median)), micros(int64(s.P90Us.Median)), micros(int64(s.P99Us.Median)), micros(int64(s.MaxUs.Max)),
			"-", "-", "-", "-", "-", "-", fmt.Sprint(s.Runs),
		}
		if s.CPUUs.Median > 0 {
			row[6] = fmt.Sprintf("%.2f (%.2f-%.2f)", s.CPUUs.Median, s.CPUUs.Min, s.CPUUs.Max)
			row[7] = fmt.Sprintf("%.2f+%.2f", s.UserUs.Median, s.SystemUs.Median)
			row[9] = fmt.Sprintf("%.0f%%", 100*s.Busy.Median)
			row[10] = fmt.Sprintf("%.1f", s.ResidentKiB.Median/1024)
		}
		if s.CPURatio.Median > 0 {
			row[8] = fmt.Sprintf("%.2f", s.CPURatio.Median)
		}
		if r.Rivals[i].logs {
			row[11] = fmt.Sprintf("%.1f%%", 100*s.Logged.Median)
		}
		if s.Flagged > 0 {
			row[12] += fmt.Sprintf(" (%d flagged)", s.Flagged)
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *report) table() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // into memory
	}
	_ = w.Flush() // into memory
	return text.String()
}

func (r *report) markdown() string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	m, s := r.Machine, r.Settings
	line("# Load comparison, %s\n", r.Started.Format("2 January 2006, 15:04 MST"))
	line("%d rounds of %d s after %d s of warm-up, interleaved, the order rotated each round; %d keep-alive connections; %d-byte bodies; loopback.\n", s.Rounds, s.DurationSeconds, s.WarmupSeconds, s.Connections, s.BodyBytes)
	rows := r.rows()
	line("| %s |", strings.Join(rows[0], " | "))
	line("|%s", strings.Repeat("---|", len(rows[0])))
	for _, row := range rows[1:] {
		line("| %s |", strings.Join(row, " | "))
	}
	line(`
Values are medians over the rounds, in parentheses the smallest and largest; max is the largest of all. CPU is user and system time of
the proxy's process and its workers from /proc. CPU/nginx is the median of the ratios within each round to nginx with the same logging. Busy is the
share of its CPU that the proxy used: below 100%% the load or the origin set the pace, and requests per second compare those. RSS is read right
after a run; pages shared by nginx's two processes count twice. Logged is the share of requests with a line in the access log. Flagged runs had socket
errors, error statuses or no completed request, and are left out.
`)
	line("## Machine\n")
	virtual := ""
	if m.Virtual {
		virtual = ", virtual: neighbours may disturb, so trust ratios over absolute values"
	}
	line("- %s, %d CPUs, %s%s", m.CPU, m.Cores, m.Memory, virtual)
	line("- %s", m.Kernel)
	line("- proxy on CPU %d, wrk on CPU %d, origin on CPU %d\n", m.Pinned.Proxy, m.Pinned.Load, m.Pinned.Backend)
	line("## Versions\n")
	line("- %s", r.Wrk)
	versions := []string{}
	for _, rival := range r.Rivals {
		if rival.Version != "" && !slices.Contains(versions, rival.Version) {
			versions = append(versions, rival.Version)
			line("- %s", rival.Version)
		}
	}
	line("\n## Commands\n")
	line("Configurations are rendered from `bench/load/rivals`. nginx and Velocity write their access logs buffered; HAProxy can only write each line by itself.\n")
	line("    %s", r.Load)
	line("    %s   # origin", r.Origin.Command)
	for _, rival := range r.Rivals {
		if rival.Command != "" {
			line("    %s   # %s", rival.Command, rival.Name)
		}
	}
	return text.String()
}

// write puts the report into base.md and base.json.
func (r *report) write(base string) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return fmt.Errorf("make results folder: %w", err)
	}
	document, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	for name, content := range map[string][]byte{base + ".json": append(document, '\n'), base + ".md": []byte(r.markdown())} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

// micros writes microseconds as people read them.
func micros(us int64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%dµs", us)
	case us < 1_000_000:
		return fmt.Sprintf("%.2fms", float64(us)/1e3)
	default:
		return fmt.Sprintf("%.2fs", float64(us)/1e6)
	}
}
