package dns

import (
	"context"

	wire "github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
)

// services are the addresses of the hosts that offer the service. Hosts are asked
// for one after another: registries send their addresses along with the services,
// and one that does not is asked for a few names per refresh.
func (r *round) services(ctx context.Context) ([]discovery.Target, error) {
	records, err := r.records(ctx)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	targets := []discovery.Target{} // not nil: the service is known even if no host is
	for _, record := range records {
		addrs, hostErr := r.addresses(ctx, record.Target)
		port := int(record.Port)
		if r.settings.Port != 0 {
			port = r.settings.Port
		}
		like := discovery.Target{Weight: int(record.Weight), Priority: int(record.Priority)}
		var badErr error
		targets, badErr = appendTargets(targets, addrs, like, port)
		for _, e := range []error{hostErr, badErr} {
			if err == nil {
				err = e
			}
		}
	}
	if err != nil && len(targets) == 0 {
		return nil, err // nothing is known of any host: that is not an empty list
	}
	return targets, err
}

// records are the services of the first name that has any.
func (r *round) records(ctx context.Context) ([]wire.SRV, error) {
	for _, name := range r.config.NameList(r.settings.Name) {
		e, err := r.ask(ctx, question{wire.CanonicalName(name), wire.TypeSRV})
		if err != nil {
			return nil, err
		}
		if len(e.services) > 0 {
			return offered(e.services), nil
		}
	}
	return nil, nil
}

// offered leaves out the record that says that the service is not offered, and
// makes of weight 0 what RFC 2782 means by it: beside weights a very small share,
// alone no statement at all, which is what 0 says to a balancer.
func offered(records []wire.SRV) []wire.SRV {
	weighted := make(map[uint16]bool) // by priority
	for _, record := range records {
		weighted[record.Priority] = weighted[record.Priority] || record.Weight > 0
	}
	var list []wire.SRV
	for _, record := range records {
		if record.Target == "." || record.Target == "" {
			continue
		}
		if record.Weight == 0 && weighted[record.Priority] {
			record.Weight = 1
		}
		list = append(list, record)
	}
	return list
}
