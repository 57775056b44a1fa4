package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

// roundTimeout bounds one refresh, however many names it asks for.
const roundTimeout = 30 * time.Second

// Source watches a name.
type Source struct{ settings Settings }

var _ discovery.Source = (*Source)(nil)

// New returns a source, or what is wrong with the settings.
func New(settings Settings) (*Source, error) {
	settings, err := settings.normalized()
	if err != nil {
		return nil, fmt.Errorf("discover by DNS: %w", err)
	}
	return &Source{settings}, nil
}

// Key is made of all settings.
func (s *Source) Key() string { return fmt.Sprintf("dns %#v", s.settings) }

// String names the question.
func (s *Source) String() string {
	if s.settings.Type == Service {
		return "dns SRV " + s.settings.Name
	}
	return fmt.Sprintf("dns %s:%d", s.settings.Name, s.settings.Port)
}

// Run asks, and asks again when the first of the answers expires.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	m := newMemory()
	backoff := discovery.Backoff{
		Min: min(s.settings.MinRefresh, discovery.DefaultMinRetry),
		Max: discovery.DefaultMaxRetry,
	}
	for {
		targets, expires, err := s.refresh(ctx, m)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that the questions were cut off is no failure
		}
		next := late(expires)
		if err == nil || targets != nil {
			sink.Update(targets, next)
		}
		if err == nil {
			backoff.Reset()
		} else {
			next = time.Now().Add(backoff.Next())
			sink.Fail(err, next)
		}
		discovery.Wait(ctx, time.Until(next))
	}
}

// late puts off a refresh by up to a tenth: gateways that started together should
// not ask together, and whoever asks too early gets what is left of an old answer.
func late(expires time.Time) time.Time {
	wait := max(time.Until(expires), 0)
	return expires.Add(rand.N(wait/10 + 1))
}

// refresh asks for what has expired. With an error and targets some of them are
// old; with an error alone nothing is known.
func (s *Source) refresh(ctx context.Context, m *memory) ([]discovery.Target, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	r, err := newRound(s.settings, m)
	if err != nil {
		return nil, time.Time{}, err
	}
	var targets []discovery.Target
	if s.settings.Type == Service {
		targets, err = r.services(ctx)
	} else {
		targets, err = r.hosts(ctx)
	}
	if err == nil || targets != nil {
		m.forgetUnused()
	}
	return targets, r.expires, err
}

// hosts are the addresses of the name.
func (r *round) hosts(ctx context.Context) ([]discovery.Target, error) {
	for _, name := range r.names(r.settings.Name) {
		addrs, err := r.addresses(ctx, name)
		if err != nil {
			// A later candidate would be another name's answer: the list must not
			// jump to it because a server is slow.
			return nil, err
		}
		if len(addrs) > 0 {
			return appendTargets(nil, addrs, discovery.Target{}, r.settings.Port)
		}
	}
	return nil, nil
}
