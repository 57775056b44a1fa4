package kubernetes

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

// Source watches the endpoints of a service.
type Source struct{ settings Settings }

var _ discovery.Source = (*Source)(nil)

// New returns a source, or what is wrong with the settings. Files are read, and
// the environment is looked at, when it runs.
func New(settings Settings) (*Source, error) {
	settings, err := settings.normalized()
	if err != nil {
		return nil, fmt.Errorf("discover by Kubernetes: %w", err)
	}
	return &Source{settings}, nil
}

// Key is made of all settings, with a hash in place of the token.
func (s *Source) Key() string {
	hidden := s.settings
	hidden.Token.Value = fmt.Sprintf("%x", sha256.Sum256([]byte(hidden.Token.Value)))
	return fmt.Sprintf("kubernetes %#v", hidden)
}

// String names the service.
func (s *Source) String() string {
	name := s.settings.Service
	if s.settings.Namespace != "" {
		name = s.settings.Namespace + "/" + name
	}
	if s.settings.Port != "" {
		name += ":" + s.settings.Port
	}
	return "kubernetes " + name
}

// Run lists the slices and watches them from there, and again from the beginning
// when the server no longer knows what has happened since.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	api, err := s.settings.connect()
	if err != nil {
		return fmt.Errorf("connect to Kubernetes: %w", err)
	}
	defer api.client.CloseIdleConnections()
	for {
		begun := time.Now()
		err := s.follow(ctx, api, sink)
		if ctx.Err() != nil {
			return nil
		}
		if !expired(err) {
			return fmt.Errorf("watch endpoints of %s: %w", s.settings.Service, err)
		}
		if !discovery.Wait(ctx, s.settings.Pause-time.Since(begun)) {
			return nil
		}
	}
}

// maxCut is how many watches in a row may end at once with nothing said: after
// that nobody can claim that what is known is up to date.
const maxCut = 5

var errCut = errors.New("watches are cut off at once")

// follow lists once and watches until that fails. A watch that ends, as each one
// does after a while, or is cut off, goes on where it was.
func (s *Source) follow(ctx context.Context, api *api, sink discovery.Sink) error {
	known, version, err := api.list(ctx)
	if err != nil {
		return err
	}
	s.tell(known, sink)
	for cut := 0; cut < maxCut; {
		begun, before := time.Now(), version
		err := api.watch(ctx, version, func(e event) (err error) {
			if version, err = known.apply(e); err == nil {
				s.tell(known, sink)
			}
			return err
		})
		if err != nil {
			return err
		}
		cut++
		if version != before || time.Since(begun) > s.settings.Pause {
			cut = 0
		}
		if !discovery.Wait(ctx, s.settings.Pause-time.Since(begun)) {
			return ctx.Err()
		}
	}
	return errCut
}

// tell passes on what is known. A bookmark, too, says that it is up to date.
func (s *Source) tell(known sliceSet, sink discovery.Sink) {
	targets, err := known.targets(s.settings.Port, s.settings.Family)
	if err == nil || len(targets) > 0 {
		sink.Update(targets, time.Time{})
	}
	if err != nil {
		sink.Fail(err, time.Time{})
	}
}

// expired reports whether a resource version or the rest of a list is no longer
// to be had.
func expired(err error) bool {
	var status *discovery.StatusError
	return errors.As(err, &status) && status.Code == http.StatusGone
}
