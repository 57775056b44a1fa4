//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	duration    time.Duration
	warmup      time.Duration
	rounds      int
	connections int
	body        int
	velocity    string
	only        string
	out         string
}

func main() {
	// Children are told to end with the thread that started them, so it has to last as long as the program.
	runtime.LockOSThread()
	opts, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err = compare(ctx, opts)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; what was started is stopped")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var opts options
	body, quick := "", false
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.DurationVar(&opts.duration, "duration", 5*time.Second, "length of each measured run")
	flags.DurationVar(&opts.warmup, "warmup", time.Second, "length of the warm-up before each run")
	flags.IntVar(&opts.rounds, "rounds", 5, "how often each proxy is measured")
	flags.IntVar(&opts.connections, "connections", 64, "keep-alive connections from wrk")
	flags.StringVar(&body, "body", "13B", "size of the response body, up to 1MiB")
	flags.BoolVar(&quick, "quick", false, "two rounds of two seconds: to see that it works, not to quote")
	flags.StringVar(&opts.velocity, "velocity", "bin/velocity", "the binary to compare")
	flags.StringVar(&opts.only, "only", "", "comma-separated names of the proxies to run (all)")
	flags.StringVar(&opts.out, "out", "bench/results", "folder for the JSON and Markdown reports")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if quick {
		opts.duration, opts.warmup, opts.rounds = 2*time.Second, time.Second, 2
	}
	var err error
	if opts.body, err = parseSize(body); err != nil {
		return options{}, fmt.Errorf("-body: %w", err)
	}
	switch {
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case opts.duration < time.Second || opts.duration%time.Second != 0 || opts.warmup < time.Second || opts.warmup%time.Second != 0:
		return options{}, errors.New("-duration and -warmup: wrk counts in whole seconds, at least 1s")
	case opts.rounds < 1:
		return options{}, errors.New("-rounds: must be at least 1")
	case opts.connections < 1 || opts.connections > 4096:
		return options{}, errors.New("-connections: must be from 1 to 4096")
	}
	return opts, nil
}

// parseSize reads a number of bytes such as 13, 13B or 4KiB.
func parseSize(s string) (int, error) {
	unit := 1
	digits := strings.TrimSuffix(s, "B")
	if d, ok := strings.CutSuffix(digits, "Ki"); ok {
		digits, unit = d, 1<<10
	} else if d, ok := strings.CutSuffix(digits, "Mi"); ok {
		digits, unit = d, 1<<20
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 1<<20 || n*unit > 1<<20 {
		return 0, fmt.Errorf("%q: must be a size such as 13B or 4KiB, from 1B to 1MiB", s)
	}
	return n * unit, nil
}

// compare runs the whole comparison and writes its reports.
func compare(ctx context.Context, opts options) (err error) {
	cpus, err := chooseCPUs()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "velocity-load-")
	if err != nil {
		return fmt.Errorf("make working folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// nginx's worker runs as another user when this runs as root.
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("open working folder to the proxies' users: %w", err)
	}

	field, err := newField(opts, dir, cpus)
	if err != nil {
		return err
	}
	each := opts.duration + opts.warmup + logFlush
	expected := time.Duration(len(field.rivals)*opts.rounds) * each
	// A bound on the whole, so that a proxy that hangs does not hang the comparison.
	ctx, cancel := context.WithTimeout(ctx, 2*expected+time.Minute)
	defer cancel()

	defer field.stop()
	if err := field.start(ctx); err != nil {
		return err
	}
	fmt.Printf("%d rounds over %s: about %s\n", opts.rounds, strings.Join(field.names(), ", "), expected.Round(time.Second))

	report := newReport(ctx, opts, field, cpus)
	for round := range opts.rounds {
		for i := range field.rivals {
			r := field.rivals[(i+round)%len(field.rivals)]
			result, err := field.measure(ctx, r, round)
			if err != nil {
				return err
			}
			report.Runs = append(report.Runs, result)
			fmt.Println(result.progress(opts.rounds))
		}
	}
	report.summarise()
	fmt.Println()
	fmt.Print(report.table())
	base := filepath.Join(opts.out, report.Started.Format("2006-01-02T150405"))
	if err := report.write(base); err != nil {
		return err
	}
	fmt.Printf("\nwritten to %s.md and %s.json\n", base, base)
	if n := report.flagged(); n > 0 {
		return fmt.Errorf("%d of %d runs had errors and were left out: the comparison is not to be trusted", n, len(report.Runs))
	}
	return nil
}
