package discovery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

// The tests of the group run in bubbles of testing/synctest: their time stands
// still until every goroutine waits, and then jumps to what is due next.

// advance lets time pass, and all that falls into it happen.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var errSick = errors.New("registry is sick")

// script is a source that does what the test sends it.
type script struct {
	key   string
	steps chan func(discovery.Sink) error

	mu   sync.Mutex
	runs int
}

func newScript(key string) *script {
	return &script{key: key, steps: make(chan func(discovery.Sink) error)}
}

func (s *script) Key() string    { return s.key }
func (s *script) String() string { return "script " + s.key }

func (s *script) Run(ctx context.Context, sink discovery.Sink) error {
	s.mu.Lock()
	s.runs++
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case step := <-s.steps:
			if err := step(sink); err != nil {
				return err
			}
		}
	}
}

func (s *script) ran() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

// step has the source do something, and waits for what follows at once.
func (s *script) step(f func(discovery.Sink) error) {
	s.steps <- f
	synctest.Wait()
}

func (s *script) update(addresses ...string) {
	s.step(func(sink discovery.Sink) error {
		targets := make([]discovery.Target, len(addresses))
		for i, address := range addresses {
			targets[i].Address = address
		}
		sink.Update(targets, time.Time{})
		return nil
	})
}

func (s *script) fail() { s.step(func(discovery.Sink) error { return errSick }) }

func addresses(targets []discovery.Target) string {
	var list []string
	for _, target := range targets {
		list = append(list, target.Address)
	}
	return strings.Join(list, " ")
}

func bubble(t *testing.T, options discovery.Options, test func(t *testing.T, g *discovery.Group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := discovery.NewGroup(options)
		defer g.Close()
		test(t, g)
	})
}

func wantTargets(t *testing.T, w *discovery.Watch, want string) {
	t.Helper()
	if got := addresses(w.Targets()); got != want {
		t.Errorf("targets are %q, want %q", got, want)
	}
}

func TestGroupTellsOnlyOfChanges(t *testing.T) {
	bubble(t, discovery.Options{}, func(t *testing.T, g *discovery.Group) {
		source, changes := newScript("a"), 0
		w := g.Watch(source, func(*discovery.Watch) { changes++ })
		source.update("10.0.0.2:80", "10.0.0.1:80")
		wantTargets(t, w, "10.0.0.1:80 10.0.0.2:80")
		first := w.Targets()
		changed := w.Status().Changed
		advance(time.Minute)
		source.update("10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80")
		if changes != 1 || &first[0] != &w.Targets()[0] {
			t.Errorf("%d changes after equal answers, want 1 and the same list", changes)
		}
		if s := w.Status(); !s.Changed.Equal(changed) || s.Updated.Sub(changed) != time.Minute || s.Targets != 2 {
			t.Errorf("status after an equal answer is %+v", s)
		}
		source.update("10.0.0.1:80")
		if changes != 2 {
			t.Errorf("%d changes, want 2", changes)
		}
		if !slices.Equal(first, []discovery.Target{{Address: "10.0.0.1:80"}, {Address: "10.0.0.2:80"}}) {
			t.Errorf("a list that was handed out became %v", first)
		}
	})
}

func TestGroupKeepsTargetsWhenTheSourceFails(t *testing.T) {
	bubble(t, discovery.Options{}, func(t *testing.T, g *discovery.Group) {
		source := newScript("a")
		w := g.Watch(source, nil)
		source.update("10.0.0.1:80")
		source.fail()
		s := w.Status()
		if !s.Stale || s.Failures != 1 || !errors.Is(s.Err, errSick) || !s.Next.After(s.Failed) {
			t.Errorf("status after a failure is %+v", s)
		}
		advance(24 * time.Hour)
		wantTargets(t, w, "10.0.0.1:80")
		source.update("10.0.0.1:80")
		if s := w.Status(); s.Stale || s.Failures != 0 || s.Err != nil || s.Failed.IsZero() {
			t.Errorf("status after recovery is %+v", s)
		}
	})
}

func TestGroupBacksOff(t *testing.T) {
	bubble(t, discovery.Options{}, func(t *testing.T, g *discovery.Group) {
		source := newScript("a")
		w := g.Watch(source, nil)
		step := time.Second
		for i := range 10 {
			source.fail()
			wait := time.Until(w.Status().Next)
			if wait < step/2 || wait > step {
				t.Errorf("wait %d is %v, want %v to %v", i, wait, step/2, step)
			}
			advance(wait - time.Nanosecond)
			before := source.ran()
			advance(time.Nanosecond)
			if before != i+1 || source.ran() != i+2 {
				t.Errorf("%d runs before the wait was over, %d after it, want %d and %d", before, source.ran(), i+1, i+2)
			}
			step = min(2*step, discovery.DefaultMaxRetry)
		}
		source.update("10.0.0.1:80")
		source.fail()
		if wait := time.Until(w.Status().Next); wait > time.Second {
			t.Errorf("wait after a success is %v, want at most 1 s", wait)
		}
	})
}

func TestBackoff(t *testing.T) {
	b := discovery.Backoff{Min: time.Second, Max: 30 * time.Second}
	for range 2 {
		for i := range 100 {
			step := 30 * time.Second
			if i < 5 {
				step = time.Second << i
			}
			if got := b.Next(); got < step/2 || got > step {
				t.Fatalf("wait %d is %v, want %v to %v", i, got, step/2, step)
			}
		}
		b.Reset()
	}
}

func TestGroupHoldsTargetsOfAnEmptyAnswer(t *testing.T) {
	bubble(t, discovery.Options{}, func(t *testing.T, g *discovery.Group) {
		source, changes := newScript("a"), 0
		w := g.Watch(source, func(*discovery.Watch) { changes++ })
		source.update("10.0.0.1:80")
		source.update()
		if s := w.Status(); !s.Held || s.Targets != 1 || s.Stale {
			t.Errorf("status while holding is %+v", s)
		}
		advance(discovery.DefaultHoldEmpty - time.Second)
		source.update() // does not begin the time anew
		wantTargets(t, w, "10.0.0.1:80")
		advance(2 * time.Second)
		wantTargets(t, w, "")
		if s := w.Status(); s.Held || s.Targets != 0 || changes != 2 {
			t.Errorf("status after holding is %+v, %d changes", s, changes)
		}

		source.update("10.0.0.1:80")
		source.update()
		source.update("10.0.0.2:80")
		advance(2 * discovery.DefaultHoldEmpty)
		wantTargets(t, w, "10.0.0.2:80")
		source.update()
		source.fail() // a failure does not lengthen it either
		advance(discovery.DefaultHoldEmpty)
		wantTargets(t, w, "")
	})
}

func TestGroupEmptiesAtOnceIfTold(t *testing.T) {
	bubble(t, discovery.Options{HoldEmpty: -1}, func(t *testing.T, g *discovery.Group) {
		source := newScript("a")
		w := g.Watch(source, nil)
		source.update("10.0.0.1:80")
		source.update()
		wantTargets(t, w, "")
	})
}

func TestGroupBoundsLists(t *testing.T) {
	bubble(t, discovery.Options{MaxTargets: 2}, func(t *testing.T, g *discovery.Group) {
		source := newScript("a")
		w := g.Watch(source, nil)
		source.update("10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80", "nonsense")
		wantTargets(t, w, "10.0.0.1:80 10.0.0.2:80")
		if s := w.Status(); s.Targets != 2 || s.Dropped != 2 {
			t.Errorf("status is %+v, want 2 targets and 2 dropped", s)
		}
	})
}

func TestGroupSharesSourcesAcrossReloads(t *testing.T) {
	bubble(t, discovery.Options{}, func(t *testing.T, g *discovery.Group) {
		source, changes := newScript("a"), 0
		old := g.Watch(source, func(*discovery.Watch) { changes++ })
		source.update("10.0.0.1:80")
		again := g.Watch(newScript("a"), nil)
		wantTargets(t, again, "10.0.0.1:80")
		select {
		case <-again.Ready():
		default:
			t.Error("a source that runs already is not ready")
		}
		old.Close()
		old.Close()
		source.update("10.0.0.2:80")
		wantTargets(t, again, "10.0.0.2:80")
		if changes != 1 || source.ran() != 1 {
			t.Errorf("%d changes told, %d runs, want 1 and 1: a closed watch is told nothing, and the source ran on", changes, source.ran())
		}
		again.Close()
		if n := len(g.Statuses()); n != 0 {
			t.Errorf("%d sources run after the last watch was closed", n)
		}
		fresh := newScript("a")
		wantTargets(t, g.Watch(fresh, nil), "")
		fresh.update("10.0.0.3:80")
	})
}

func TestGroupReady(t *testing.T) {
	bubble(t, discovery.Options{}, func(t *testing.T, g *discovery.Group) {
		answers, fails := newScript("answers"), newScript("fails")
		g.Watch(answers, nil)
		g.Watch(fails, nil)
		answers.update()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "script fails") {
			t.Errorf("Ready = %v, want a deadline that names the source", err)
		}
		fails.fail()
		if err := g.Ready(t.Context()); err != nil {
			t.Errorf("Ready after a first failure = %v", err)
		}
	})
}

func TestGroupSurvivesAPanic(t *testing.T) {
	var reports []discovery.Status
	report := func(s discovery.Status) { reports = append(reports, s) }
	bubble(t, discovery.Options{Report: report}, func(t *testing.T, g *discovery.Group) {
		source := newScript("a")
		w := g.Watch(source, nil)
		source.update("10.0.0.1:80")
		source.step(func(discovery.Sink) error { panic("index out of range") })
		if s := w.Status(); s.Err == nil || !strings.Contains(s.Err.Error(), "BUG: ") {
			t.Errorf("status after a panic is %+v", s)
		}
		advance(time.Second)
		source.update("10.0.0.2:80")
		wantTargets(t, w, "10.0.0.2:80")
		if len(reports) != 3 || reports[1].Failures != 1 || reports[2].Stale {
			t.Errorf("reports are %+v", reports)
		}
	})
}

func TestGroupClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := discovery.NewGroup(discovery.Options{})
		source := newScript("a")
		w := g.Watch(source, nil)
		source.update("10.0.0.1:80")
		source.update()
		g.Close()
		wantTargets(t, w, "10.0.0.1:80")
		if s := w.Status(); s.Failures != 0 {
			t.Errorf("stopping counted as a failure: %+v", s)
		}
		w.Close()
		g.Watch(newScript("b"), nil).Close()
	})
}
