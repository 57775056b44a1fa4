package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/gateway"
)

// defaultConfig is where the configuration is unless --config says otherwise.
const defaultConfig = "configs/gateway.yaml"

// gateway runs the gateway until it is told to stop.
func (p *program) gateway(args []string) int {
	fs := p.flags("", usage)
	path := fs.String("config", defaultConfig, "")
	takeover := fs.Bool("takeover", false, "")
	showVersion := fs.Bool("version", false, "")
	operands, code, done := p.parse(fs, args)
	if done {
		return code
	}
	if *showVersion {
		return p.version(nil)
	}
	if len(operands) > 0 {
		fmt.Fprintf(p.stderr, "velocity: unexpected argument %q; see velocity --help\n", operands[0])
		return exitUsage
	}
	v, c, _ := buildInfo()
	g, err := gateway.New(gateway.Options{
		ConfigPath: *path, Takeover: *takeover, Args: args, Env: p.env, Version: v, Commit: c, Log: zapcore.Lock(zapcore.AddSync(p.stderr)),
	})
	if err != nil {
		return p.configError(err)
	}
	switch err := g.Run(context.Background()); {
	case err == nil:
		return exitOK
	case errors.Is(err, gateway.ErrForced):
		fmt.Fprintln(p.stderr, "velocity:", err)
		return exitForced
	default:
		fmt.Fprintln(p.stderr, "velocity:", err)
		return exitFailure
	}
}

// configError prints why a configuration could not be used: problems one a
// line, as they stand, so that editors can jump to them.
func (p *program) configError(err error) int {
	var problems config.Problems
	if errors.As(err, &problems) {
		p.printProblems(p.stderr, problems)
		return exitConfig
	}
	fmt.Fprintln(p.stderr, "velocity:", err)
	return exitFailure
}

func (p *program) printProblems(w io.Writer, problems config.Problems) {
	wrong := 0
	for _, problem := range problems {
		fmt.Fprintln(w, problem)
		if !problem.Warning {
			wrong++
		}
	}
	if wrong > 0 {
		fmt.Fprintf(w, "velocity: %s in the configuration\n", plural(wrong, "problem"))
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
