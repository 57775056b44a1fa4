package discovery_test

import (
	"context"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

// observed is a source of a world that is watched, and what is told of it.
type observed struct {
	*discovery.Watch
	group   *discovery.Group
	reports chan discovery.Status
	changes chan string
}

func observe(t *testing.T, source discovery.Source, hold time.Duration) *observed {
	t.Helper()
	o := &observed{reports: make(chan discovery.Status, 1<<16), changes: make(chan string, 1<<10)}
	o.group = discovery.NewGroup(discovery.Options{
		Report:   func(s discovery.Status) { o.reports <- s },
		MinRetry: time.Millisecond, MaxRetry: 5 * time.Millisecond, HoldEmpty: hold,
	})
	t.Cleanup(o.group.Close)
	o.Watch = o.group.Watch(source, func(w *discovery.Watch) { o.changes <- addresses(w.Targets()) })
	return o
}

// change waits for the next change.
func (o *observed) change(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-o.changes:
		if got != want {
			t.Errorf("changed to %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no change to %q; %+v", want, o.Status())
	}
}

// report waits for a report from now on that says what the test is looking for.
func (o *observed) report(t *testing.T, what string, is func(discovery.Status) bool) discovery.Status {
	t.Helper()
	for len(o.reports) > 0 {
		<-o.reports
	}
	limit := time.After(10 * time.Second)
	for {
		select {
		case s := <-o.reports:
			if is(s) {
				return s
			}
		case <-limit:
			t.Fatalf("no report says %s; %+v", what, o.Status())
		}
	}
}

func failed(s discovery.Status) bool { return s.Stale }

func answered(s discovery.Status) bool { return !s.Stale }

// each runs a test for every source.
func each(t *testing.T, test func(t *testing.T, w world)) {
	t.Helper()
	for name, begin := range worlds() {
		t.Run(name, func(t *testing.T) { test(t, begin(t)) })
	}
}

func TestSourcesFollowWhatTheyWatch(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		w.publish(t, "10.0.0.1")
		o := observe(t, w.source(t), 0)
		o.change(t, "10.0.0.1:80")
		w.publish(t, "10.0.0.2", "10.0.0.1")
		o.change(t, "10.0.0.1:80 10.0.0.2:80")
		w.publish(t, "10.0.0.3")
		o.change(t, "10.0.0.3:80")
	})
}

func TestSourcesTellOfNoChangeWhereThereIsNone(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		w.publish(t, "10.0.0.1", "10.0.0.2")
		o := observe(t, w.source(t), 0)
		o.change(t, "10.0.0.1:80 10.0.0.2:80")
		before := o.Targets()
		for range 3 {
			for len(o.reports) > 0 {
				<-o.reports
			}
			last := o.Status().Updated
			w.publish(t, "10.0.0.2", "10.0.0.1", "10.0.0.2")
			for s := range o.reports {
				if s.Updated.After(last) {
					break
				}
			}
		}
		w.publish(t, "10.0.0.1")
		o.change(t, "10.0.0.1:80") // is the next, so that there was none in between
		if before[0].Address != "10.0.0.1:80" || before[1].Address != "10.0.0.2:80" {
			t.Errorf("a list that was handed out became %v", before)
		}
	})
}

func TestSourcesKeepTargetsThroughFailures(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		w.publish(t, "10.0.0.1", "10.0.0.2")
		o := observe(t, w.source(t), -1)
		o.change(t, "10.0.0.1:80 10.0.0.2:80")
		for range 2 {
			w.breakDown(t)
			s := o.report(t, "a failure", failed)
			if s.Targets != 2 || s.Err == nil || s.Failures == 0 || s.Failed.IsZero() || s.Updated.IsZero() {
				t.Errorf("status after a failure is %+v", s)
			}
			w.publish(t, "10.0.0.2", "10.0.0.1")
			if s := o.report(t, "recovery", answered); s.Targets != 2 || s.Err != nil || s.Failures != 0 {
				t.Errorf("status after recovery is %+v", s)
			}
		}
		w.publish(t, "10.0.0.1")
		o.change(t, "10.0.0.1:80")
	})
}

func TestSourcesBeginWithAFailure(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		w.breakDown(t)
		o := observe(t, w.source(t), 0)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := o.group.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if s := o.Status(); !s.Stale || s.Targets != 0 || !s.Updated.IsZero() {
			t.Errorf("status is %+v", s)
		}
		w.publish(t, "10.0.0.1")
		o.change(t, "10.0.0.1:80")
	})
}

func TestSourcesAnswerThatThereIsNothing(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		w.publish(t)
		o := observe(t, w.source(t), -1)
		<-o.Ready()
		if s := o.Status(); s.Stale {
			t.Errorf("status is %+v: an empty answer is none", s)
		}
		w.publish(t, "10.0.0.1")
		o.change(t, "10.0.0.1:80")
		w.publish(t)
		o.change(t, "")
	})
}

func TestSourcesStopWhileTheyWait(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		stop := func(o *observed) {
			t.Helper()
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				o.group.Close()
			}()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatal("the source does not stop")
			}
		}
		w.publish(t, "10.0.0.1")
		o := observe(t, w.source(t), 0)
		o.change(t, "10.0.0.1:80")
		failures := o.Status().Failures
		stop(o)
		if s := o.Status(); s.Failures != failures || addresses(o.Targets()) != "10.0.0.1:80" {
			t.Errorf("status after stopping is %+v", s)
		}
		w.breakDown(t)
		o = observe(t, w.source(t), 0)
		<-o.Ready()
		stop(o)
	})
}

func TestSourcesAreKnownByTheirSettings(t *testing.T) {
	keys := make(map[string]string)
	for name, begin := range worlds() {
		w := begin(t)
		a, b := w.source(t), w.source(t)
		if a.Key() != b.Key() || a.Key() == "" || a.String() == "" {
			t.Errorf("%s: keys are %q and %q, name %q", name, a.Key(), b.Key(), a)
		}
		if other, taken := keys[a.Key()]; taken {
			t.Errorf("%s and %s have the key %q", name, other, a.Key())
		}
		keys[a.Key()] = name
	}
}
