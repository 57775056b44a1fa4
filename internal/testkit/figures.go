package testkit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Metrics are the values of one scrape by series, written as in the text
// format: `velocity_config_reloads_total{result="applied"}`.
type Metrics map[string]float64

// Scrape reads a gateway's metrics.
func Scrape(tb testing.TB, admin string) Metrics {
	tb.Helper()
	r := Get(tb, admin, "/metrics", "Connection: close")
	if r.Status != 200 {
		tb.Fatalf("scrape metrics: status %d", r.Status)
	}
	m := Metrics{}
	for line := range strings.Lines(r.Body) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' || i < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			tb.Fatalf("scrape metrics: %q: %v", line, err)
		}
		m[line[:i]] = v
	}
	return m
}

// Value returns the value of a series that must exist.
func (m Metrics) Value(tb testing.TB, series string) float64 {
	tb.Helper()
	v, ok := m[series]
	if !ok {
		tb.Fatalf("no metric %s", series)
	}
	return v
}

// RSS returns the resident memory of a process in bytes.
func RSS(tb testing.TB, pid int) int64 {
	tb.Helper()
	return status(tb, pid, "VmRSS") << 10
}

// PeakRSS returns the most memory that a process has had resident, in bytes.
func PeakRSS(tb testing.TB, pid int) int64 {
	tb.Helper()
	return status(tb, pid, "VmHWM") << 10
}

// Threads returns the number of threads of a process.
func Threads(tb testing.TB, pid int) int64 {
	tb.Helper()
	return status(tb, pid, "Threads")
}

// FDs returns the number of files and sockets that a process has open.
func FDs(tb testing.TB, pid int) int {
	tb.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

// status reads a number of /proc/PID/status, in the unit that it has there.
func status(tb testing.TB, pid int, field string) int64 {
	tb.Helper()
	for line := range strings.Lines(ReadFile(tb, fmt.Sprintf("/proc/%d/status", pid))) {
		name, rest, _ := strings.Cut(line, ":")
		words := strings.Fields(rest)
		if name != field || len(words) == 0 {
			continue
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		return n
	}
	tb.Fatalf("no %s in the status of process %d", field, pid)
	return 0
}
