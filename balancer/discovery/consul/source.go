package consul

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

const (
	// maxBody bounds an answer; an instance is about 2 KB of it.
	maxBody = 64 << 20
	// grace is how long an answer may be on its way beyond the time that it waits.
	grace = 15 * time.Second
)

// Source watches the instances of a service.
type Source struct{ settings Settings }

var _ discovery.Source = (*Source)(nil)

// New returns a source, or what is wrong with the settings.
func New(settings Settings) (*Source, error) {
	settings, err := settings.normalized()
	if err != nil {
		return nil, fmt.Errorf("discover by Consul: %w", err)
	}
	return &Source{settings}, nil
}

// Key is made of all settings, with a hash in place of the token.
func (s *Source) Key() string {
	hidden := s.settings
	hidden.Token.Value = fmt.Sprintf("%x", sha256.Sum256([]byte(hidden.Token.Value)))
	return fmt.Sprintf("consul %#v", hidden)
}

// String names the service and the agent.
func (s *Source) String() string {
	return fmt.Sprintf("consul %s at %s", s.settings.Service, s.settings.Address)
}

// Run asks, and asks again as soon as an answer has come: the agent answers when
// something has changed.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	client, err := s.settings.TLS.Client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	var index uint64
	for base := s.settings.url(); ; {
		asked := time.Now()
		instances, answered, err := s.ask(ctx, client, base, index)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask Consul for %s: %w", s.settings.Service, err)
		}
		targets, bad := s.targets(instances)
		if bad == nil || len(targets) > 0 {
			sink.Update(targets, time.Time{})
		}
		if bad != nil {
			sink.Fail(bad, time.Time{})
		}
		index = next(index, answered)
		if !discovery.Wait(ctx, s.settings.Pause-time.Since(asked)) {
			return nil
		}
	}
}

// next is the index to wait for a change of. One that goes backwards means that
// the state was replaced, as by a restore: what is known of it is nothing. One
// that is not positive would not block.
func next(index, answered uint64) uint64 {
	if answered < index {
		return 0
	}
	return max(answered, 1)
}

// ask sends one query, which waits if there is an index.
func (s *Source) ask(ctx context.Context, client *http.Client, base string, index uint64) ([]instance, uint64, error) {
	limit := grace
	if index > 0 {
		base += "&index=" + strconv.FormatUint(index, 10)
		limit += s.settings.Wait + s.settings.Wait/16 // by which the agent spreads its answers
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	token, err := s.settings.Token.Read()
	if err != nil {
		return nil, 0, err
	}
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is left to be read
	if err := discovery.CheckStatus(resp); err != nil {
		return nil, 0, err
	}
	answered, err := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return nil, 0, errors.New("answer has no X-Consul-Index")
	}
	var instances []instance
	if err := discovery.DecodeJSON(resp.Body, maxBody, &instances); err != nil {
		return nil, 0, fmt.Errorf("read answer: %w", err)
	}
	switch {
	case instances == nil:
		return nil, 0, errors.New("answer is not a list")
	case len(instances) == 0 && resp.Header.Get("X-Consul-Results-Filtered-By-ACLs") == "true":
		// A token that has expired sees an empty service, not an error.
		return nil, 0, errors.New("token may not read the service")
	}
	return instances, answered, nil
}
