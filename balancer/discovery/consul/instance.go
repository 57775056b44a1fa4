package consul

import (
	"fmt"

	"github.com/salgue441/velocity/balancer/discovery"
)

// instance is what is read of an entry of the answer.
type instance struct {
	Node struct {
		Node     string
		Address  string
		Locality *locality
	}
	Service struct {
		ID       string
		Address  string
		Port     int
		Weights  struct{ Passing, Warning int }
		Locality *locality
	}
	Checks []struct{ Status string }
}

type locality struct{ Zone string }

// targets are the instances that may be used. An instance without a usable
// address is an error, and the others are targets nonetheless.
func (s *Source) targets(instances []instance) (targets []discovery.Target, bad error) {
	for i := range instances {
		one := &instances[i]
		status := one.status()
		if status != passing && (status != warning || !s.settings.Warning) {
			continue
		}
		t, err := one.target(status)
		if err != nil {
			bad = fmt.Errorf("instance %s on %s: %w", one.Service.ID, one.Node.Node, err)
			continue
		}
		targets = append(targets, t)
	}
	return targets, bad
}

// What Consul calls the states of a check; maintenance is a critical check.
const (
	passing = "passing"
	warning = "warning"
)

// status is the worst of the instance's checks, on its node and on itself.
func (i *instance) status() string {
	worst := passing
	for _, check := range i.Checks {
		switch check.Status {
		case passing:
		case warning:
			worst = warning
		default:
			return check.Status
		}
	}
	return worst
}

func (i *instance) target(status string) (discovery.Target, error) {
	host := i.Service.Address
	if host == "" {
		host = i.Node.Address
	}
	address, err := discovery.Address(host, i.Service.Port)
	if err != nil {
		return discovery.Target{}, err
	}
	t := discovery.Target{Address: address, Weight: i.Service.Weights.Passing}
	if status == warning {
		// A weight of 0 is what an operator gives an instance that should get nothing
		// while it warns; Consul does not let one that passes have it.
		t.Weight, t.Draining = i.Service.Weights.Warning, i.Service.Weights.Warning == 0
	}
	for _, l := range []*locality{i.Node.Locality, i.Service.Locality} {
		if l != nil && l.Zone != "" {
			t.Zone = l.Zone
		}
	}
	return t, nil
}
