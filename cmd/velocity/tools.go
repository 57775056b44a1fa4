package main

import (
	"context"
	"fmt"
	"net"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/echo"
)

const schemaUsage = `velocity schema prints the JSON Schema (draft 2020-12) of the configuration, for
editors: put this line at the top of a file, with the schema saved beside it,

  # yaml-language-server: $schema=schema.json
`

func (p *program) schema(args []string) int {
	operands, code, done := p.parse(p.flags("schema", schemaUsage), args)
	if done {
		return code
	}
	if !p.noOperands("schema", operands) {
		return exitUsage
	}
	s, err := config.Schema()
	if err != nil {
		fmt.Fprintln(p.stderr, "velocity:", err)
		return exitFailure
	}
	fmt.Fprintf(p.stdout, "%s", s)
	return exitOK
}

const echoUsage = `velocity echo [--listen ADDRESS] [--name NAME]

Serves a sample upstream, to try routes against and to test with.

Flags:
  --listen ADDRESS   where to listen (default 127.0.0.1:3000)
  --name NAME        how it calls itself in x-echo-instance (default echo-PID)

` + echo.Usage

func (p *program) echo(args []string) int {
	fs := p.flags("echo", echoUsage)
	listen := fs.String("listen", "127.0.0.1:3000", "")
	name := fs.String("name", "", "")
	operands, code, done := p.parse(fs, args)
	if done {
		return code
	}
	if !p.noOperands("echo", operands) {
		return exitUsage
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(p.stderr, "velocity: echo:", err)
		return exitFailure
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	fmt.Fprintf(p.stderr, "echo: listening on http://%s (GET / explains)\n", ln.Addr())
	if err := echo.New(echo.Options{Name: *name}).Serve(ctx, ln); err != nil {
		fmt.Fprintln(p.stderr, "velocity: echo:", err)
		return exitFailure
	}
	return exitOK
}

const healthcheckUsage = `velocity healthcheck [--config FILE] [--ready]

Asks the gateway that runs with this configuration on this machine for /health,
or with --ready for /ready. For HEALTHCHECK in container images, which have no
curl.

Exit codes: 0 healthy, 3 not, 1 bad configuration, 2 bad command line.
`

func (p *program) healthcheck(args []string) int {
	fs := p.flags("healthcheck", healthcheckUsage)
	path := fs.String("config", defaultConfig, "")
	ready := fs.Bool("ready", false, "")
	operands, code, done := p.parse(fs, args)
	if done {
		return code
	}
	if !p.noOperands("healthcheck", operands) {
		return exitUsage
	}
	c, err := config.Load(*path, p.env)
	if err != nil {
		return p.configError(err)
	}
	host := c.Server.Host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, strconv.Itoa(c.Server.Port)) + "/health"
	if *ready {
		url = url[:len(url)-len("health")] + "ready"
	}
	status, _, err := fasthttp.GetTimeout(nil, url, 3*time.Second)
	if err != nil {
		fmt.Fprintln(p.stderr, "velocity: healthcheck:", err)
		return exitFailure
	}
	if status != fasthttp.StatusOK {
		fmt.Fprintf(p.stderr, "velocity: healthcheck: %s answered %d\n", url, status)
		return exitFailure
	}
	return exitOK
}
