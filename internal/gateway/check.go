package gateway

import (
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
)

// Checked is a configuration that loads and builds.
type Checked struct {
	// Config is the configuration.
	Config *config.Config
	// Warnings are what is probably not meant.
	Warnings config.Problems

	plan *plan
}

// Check loads and builds a configuration without starting anything: what it
// accepts, a start and a reload accept. The error is config.Problems when the
// document is bad.
func Check(configPath string, env []string) (*Checked, error) {
	c, err := config.Load(configPath, env)
	if err != nil {
		return nil, err
	}
	p, err := build(c, newLiving(), telemetry.NewRegistry(""))
	if err != nil {
		return nil, err
	}
	closeVerifiers(p.verifiers, nil) // nobody is going to ask them
	p.snapshot.Local = local(c, func() bool { return true }, nil)
	return &Checked{Config: c, Warnings: p.warnings, plan: p}, nil
}
