//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// wrkResult is what rivals/wrk.lua prints.
type wrkResult struct {
	Requests   int64 `json:"requests"`
	DurationUs int64 `json:"duration_us"`
	// Errors counts socket errors, Statuses answers of 400 and above.
	Errors   int64 `json:"errors"`
	Statuses int64 `json:"statuses"`
	P50Us    int64 `json:"p50_us"`
	P90Us    int64 `json:"p90_us"`
	P99Us    int64 `json:"p99_us"`
	MaxUs    int64 `json:"max_us"`
}

// parseWrk finds the result line in wrk's output.
func parseWrk(output []byte) (wrkResult, error) {
	for line := range bytes.Lines(output) {
		text, ok := bytes.CutPrefix(line, []byte("result "))
		if !ok {
			continue
		}
		var r wrkResult
		if err := json.Unmarshal(text, &r); err != nil {
			return wrkResult{}, fmt.Errorf("parse wrk result: %w", err)
		}
		if r.Requests < 0 || r.DurationUs <= 0 {
			return wrkResult{}, errors.New("parse wrk result: numbers out of range")
		}
		return r, nil
	}
	return wrkResult{}, errors.New("parse wrk result: no result line")
}

// run is one measurement.
type run struct {
	Rival string `json:"rival"`
	Round int    `json:"round"`
	wrkResult
	RequestsPerSecond float64 `json:"requests_per_second"`
	// CPU time of the proxy's processes for one request.
	UserUs   float64 `json:"user_us_per_request,omitempty"`
	SystemUs float64 `json:"system_us_per_request,omitempty"`
	// Busy is the share of its CPU that the proxy used. Below 1 the load or the origin set the pace, and requests per second
	// says less about the proxy than CPU time does.
	Busy        float64 `json:"busy,omitempty"`
	ResidentKiB int64   `json:"resident_kib,omitempty"`
	// Logged is the share of requests that left a line in the access log; a proxy may drop lines rather than wait.
	Logged float64 `json:"logged,omitempty"`
	// Flagged runs had errors, or completed no request, and count for nothing.
	Flagged bool `json:"flagged,omitempty"`
}

func (r *run) cpuUs() float64 { return r.UserUs + r.SystemUs }

func (r *run) progress(rounds int) string {
	line := fmt.Sprintf("round %d/%d  %-16s %9.0f req/s  p99 %8s", r.Round+1, rounds, r.Rival, r.RequestsPerSecond, micros(r.P99Us))
	if r.cpuUs() > 0 {
		line += fmt.Sprintf("  %6.2f µs CPU/req  %5.1f MiB", r.cpuUs(), float64(r.ResidentKiB)/1024)
	}
	if r.Flagged {
		line += fmt.Sprintf("  FLAGGED: %d requests, %d socket errors, %d error statuses", r.Requests, r.Errors, r.Statuses)
	}
	return line
}

// measure warms a rival up and drives it once.
func (f *field) measure(ctx context.Context, r *rival, round int) (run, error) {
	if r.log != "" {
		// A proxy may make the file with its first line.
		if err := os.Truncate(r.log, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return run{}, fmt.Errorf("empty access log of %s: %w", r.Name, err)
		}
	}
	warm, err := f.wrk(ctx, r, f.opts.warmup)
	if err != nil {
		return run{}, err
	}
	before, err := r.usage()
	if err != nil {
		return run{}, err
	}
	started := time.Now()
	result, err := f.wrk(ctx, r, f.opts.duration)
	if err != nil {
		return run{}, err
	}
	wall := time.Since(started)
	after, err := r.usage()
	if err != nil {
		return run{}, err
	}

	requests := float64(result.Requests)
	m := run{
		Rival: r.Name, Round: round, wrkResult: result,
		RequestsPerSecond: requests / (float64(result.DurationUs) / 1e6),
		Flagged:           result.Errors != 0 || result.Statuses != 0 || result.Requests == 0,
	}
	if r.process != nil && result.Requests > 0 {
		m.UserUs = float64((after.User - before.User).Microseconds()) / requests
		m.SystemUs = float64((after.System - before.System).Microseconds()) / requests
		m.Busy = m.cpuUs() * requests / float64(wall.Microseconds())
		m.ResidentKiB = after.ResidentKiB
	}
	if r.log != "" {
		if err := pause(ctx, logFlush); err != nil {
			return run{}, err
		}
		lines, err := countLines(r.log)
		if err != nil {
			return run{}, err
		}
		m.Logged = float64(lines) / float64(max(1, warm.Requests+result.Requests))
	}
	return m, nil
}

// usage returns what the rival has used so far: nothing, where there is no proxy.
func (r *rival) usage() (usage, error) {
	if r.process == nil {
		return usage{}, nil
	}
	if !r.process.running() {
		return usage{}, fmt.Errorf("%s ended during the comparison: %s", r.Name, strings.TrimSpace(r.process.stderr.String()))
	}
	return r.process.usage()
}

// wrkCommand returns the command line of the load for a time and an address.
func (f *field) wrkCommand(duration time.Duration, url string) []string {
	return []string{
		"taskset", "-c", strconv.Itoa(f.cpus.Load), "wrk", "--threads", "1", "--connections", strconv.Itoa(f.opts.connections),
		"--duration", strconv.Itoa(int(duration.Seconds())) + "s", "--timeout", "5s", "--script", f.script, "--latency", url,
	}
}

func (f *field) wrk(ctx context.Context, r *rival, duration time.Duration) (wrkResult, error) {
	// wrk ends by itself after its duration; the bound is for when it does not.
	ctx, cancel := context.WithTimeout(ctx, duration+15*time.Second)
	defer cancel()
	args := f.wrkCommand(duration, f.url(r))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return wrkResult{}, fmt.Errorf("run wrk against %s: %w", r.Name, ctx.Err())
	}
	if err != nil {
		return wrkResult{}, fmt.Errorf("run wrk against %s: %w: %s", r.Name, err, bytes.TrimSpace(output))
	}
	result, err := parseWrk(output)
	if err != nil {
		return wrkResult{}, fmt.Errorf("run wrk against %s: %w in %q", r.Name, err, output)
	}
	return result, nil
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// countLines returns the number of whole lines in a file: none when there is no file.
func countLines(path string) (int64, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count lines: %w", err)
	}
	defer file.Close()
	var lines int64
	reader := bufio.NewReaderSize(file, 1<<18)
	for {
		chunk, err := reader.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, fmt.Errorf("count lines: %w", err)
		}
		if chunk[len(chunk)-1] == '\n' {
			lines++
		}
	}
}
