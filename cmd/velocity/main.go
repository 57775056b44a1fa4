// Command velocity is an edge proxy and API gateway. Without a command it runs
// the gateway; the commands check and explain configurations, print the schema
// and serve a sample upstream. It owns flags, exit codes and what is printed;
// the work is in internal/gateway and internal/config.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	_ "time/tzdata" // calendar quotas have time zones, and an image from scratch has none
)

// Set by the build (see Makefile); empty in a plain go build.
var version, commit, date string

// Exit codes, documented in usage.
const (
	exitOK      = 0
	exitConfig  = 1 // the configuration is bad
	exitUsage   = 2 // the command line is bad
	exitFailure = 3 // could not start, or failed while running
	exitForced  = 4 // stopped by a second signal
)

const usage = `Velocity is an edge proxy and API gateway.

Usage:
  velocity [--config FILE] [--takeover]   run the gateway
  velocity COMMAND [flags]

Commands:
  check        say what is wrong with a configuration, without starting anything
  explain      say which route a request takes, and why the others lost
  schema       print the JSON Schema of the configuration
  echo         serve a sample upstream that answers with what it received
  healthcheck  ask a running gateway whether it is alive (for containers)
  token        print a signed JSON Web Token, for trying things
  version      print the version

"velocity COMMAND --help" says more about a command.

Flags:
  --config FILE    the configuration (default configs/gateway.yaml)
  --takeover       take the listening sockets of the process that runs this
                   configuration; it finishes its requests and ends

Signals:
  SIGHUP           reload the configuration and reopen log files; a bad file
                   changes nothing
  SIGTERM, SIGINT  stop: readiness fails, requests under way finish (see
                   server.shutdown); a second one stops at once
  SIGUSR2          start the program again with --takeover, to upgrade it
                   without losing a connection

The configuration is also reloaded when its files change (server.watch) and by
POST /admin/v1/reload on the management listener.

Environment:
  VELOCITY_HOST, VELOCITY_PORT      where to take traffic
  VELOCITY_LOG_LEVEL                debug, info, warn or error
  VELOCITY_SERVER__READ_TIMEOUT=10s any other setting by its path, with __
                                    between levels

Exit codes:
  0  stopped in order, or the check passed
  1  the configuration is bad; every problem is on stderr with file and line
  2  the command line is bad
  3  could not start (a port is taken, say) or failed while running
  4  stopped by a second signal with requests under way

First steps:
  velocity echo --listen 127.0.0.1:3000 &
  velocity --config configs/gateway.yaml &
  curl -i localhost:8080/api/v1/users
`

// program is one invocation: what main gives to the commands, and tests
// replace.
type program struct {
	stdout, stderr io.Writer
	env            []string
}

func main() {
	p := &program{stdout: os.Stdout, stderr: os.Stderr, env: os.Environ()}
	os.Exit(p.run(os.Args[1:]))
}

// run dispatches to a command and returns the exit code.
func (p *program) run(args []string) int {
	commands := map[string]func([]string) int{
		"check": p.check, "explain": p.explain, "schema": p.schema, "echo": p.echo,
		"healthcheck": p.healthcheck, "token": p.token, "version": p.version,
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if args[0] == "help" {
			return p.help(args[1:], commands)
		}
		if args[0] == "run" {
			return p.gateway(args[1:])
		}
		command, ok := commands[args[0]]
		if !ok {
			return p.unknown(args[0])
		}
		return command(args[1:])
	}
	return p.gateway(args)
}

func (p *program) help(args []string, commands map[string]func([]string) int) int {
	if len(args) == 0 {
		fmt.Fprint(p.stdout, usage)
		return exitOK
	}
	command, ok := commands[args[0]]
	if !ok {
		return p.unknown(args[0])
	}
	return command([]string{"--help"})
}

func (p *program) unknown(command string) int {
	fmt.Fprintf(p.stderr, "velocity: unknown command %q; see velocity --help\n", command)
	return exitUsage
}

// flags returns the flags of a command, "" for running the gateway, with help
// as their help.
func (p *program) flags(command, help string) flags {
	name := strings.TrimSpace("velocity " + command)
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {} // the package calls it for errors too
	return flags{FlagSet: fs, help: help}
}

// flags are a command's flags and the text that --help prints.
type flags struct {
	*flag.FlagSet
	help string
}

// parse parses flags that may stand before and after the operands, and returns
// the operands. Help goes to stdout, an error to stderr in one line. done tells
// that the command ends here with code.
func (p *program) parse(fs flags, args []string) (operands []string, code int, done bool) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprint(p.stdout, fs.help)
				return nil, exitOK, true
			}
			fmt.Fprintf(p.stderr, "velocity: %v; see %s --help\n", err, fs.Name())
			return nil, exitUsage, true
		}
		if fs.NArg() == 0 {
			return operands, exitOK, false
		}
		operands = append(operands, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// noOperands refuses what a command has no use for.
func (p *program) noOperands(name string, operands []string) bool {
	if len(operands) == 0 {
		return true
	}
	fmt.Fprintf(p.stderr, "velocity: %s takes no argument %q; see velocity %s --help\n", name, operands[0], name)
	return false
}

const versionUsage = `velocity version prints the version, the commit and what it was built with.
`

func (p *program) version(args []string) int {
	operands, code, done := p.parse(p.flags("version", versionUsage), args)
	if done {
		return code
	}
	if !p.noOperands("version", operands) {
		return exitUsage
	}
	v, c, d := buildInfo()
	fmt.Fprintf(p.stdout, "velocity %s\ncommit   %s\ndate     %s\ngo       %s %s/%s\n", v, c, d, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}

// buildInfo falls back to what the Go tool noted by itself.
func buildInfo() (v, c, d string) {
	v, c, d = version, commit, date
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && c == "":
				c = s.Value
			case s.Key == "vcs.time" && d == "":
				d = s.Value
			}
		}
	}
	or := func(s string) string {
		if s == "" {
			return "unknown"
		}
		return s
	}
	return or(v), or(c), or(d)
}
