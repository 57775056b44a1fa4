package gateway

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/testkit"
)

func TestOverridesOutliveReloads(t *testing.T) {
	l := newLiving()
	key := overrideKey{"users", "http://h:80"}
	f := func(configured, weight int, mode balancer.Mode) {
		t.Helper()
		e := balancer.NewEndpoint(configured, true) // even another endpoint at the address
		l.override(key, e, configured)
		if e.Weight() != weight || e.Mode() != mode {
			t.Errorf("configured %d: weight %d and %s, want %d and %s", configured, e.Weight(), e.Mode(), weight, mode)
		}
	}
	f(3, 3, balancer.Enabled)
	l.overrides[key] = override{mode: balancer.Drained, weight: new(7), configured: 3}
	f(3, 7, balancer.Drained)
	f(4, 4, balancer.Drained) // what was written anew wins
	f(3, 3, balancer.Drained) // for good

	l.forget()
	f(3, 3, balancer.Enabled)
}

func TestEndpointIsChangedOverReloads(t *testing.T) {
	document := func(rest string) string {
		return settings + "upstreams: [{name: up, " + rest + "}]\nroutes: [{path: /*, upstream: up}]\n"
	}
	const one, two = `{url: "http://127.0.0.1:1", weight: 3}`, `{url: "http://127.0.0.1:2"}`
	g := run(t, document("targets: ["+one+", "+two+"]"))
	before, after, err := g.SetEndpoint("up", "127.0.0.1:1", admin.EndpointChange{Mode: admin.ModeDrained, Weight: new(7)})
	if err != nil || before.Mode != admin.ModeEnabled || before.Weight != 3 || after.Weight != 7 || after.State != admin.StateDrained {
		t.Fatalf("SetEndpoint: %+v, %+v, %v", before, after, err)
	}
	f := func(targets, mode string, weight int) {
		t.Helper()
		testkit.ReplaceFile(t, g.path, document(targets))
		if changed, err := g.Reload(t.Context()); err != nil || !changed {
			t.Fatalf("Reload: %v, %v", changed, err)
		}
		if e := g.Upstreams()[0].Endpoints[0]; e.Mode != mode || e.Weight != weight {
			t.Errorf("%s: %s with weight %d, want %s with %d", targets, e.Mode, e.Weight, mode, weight)
		}
	}
	f("targets: ["+one+"]", "drained", 7)
	f("connect_timeout: 7s, targets: ["+one+"]", "drained", 7) // another endpoint at the address
	f("targets: ["+strings.Replace(one, "3", "4", 1)+"]", "drained", 4)
	f("targets: ["+two+"]", "enabled", 1)
	f("targets: ["+one+"]", "enabled", 3)
	if _, _, err := g.SetEndpoint("up", "127.0.0.1:2", admin.EndpointChange{}); !errors.As(err, new(*admin.NotFound)) {
		t.Errorf("an endpoint that is gone: %v", err)
	}
	if _, _, err := g.SetBreaker("up", admin.BreakerChange{Open: true}); !errors.Is(err, admin.ErrNoBreaker) {
		t.Errorf("SetBreaker: %v", err)
	}
}

func TestRequiredUpstreamIsMissed(t *testing.T) {
	required := strings.Replace(settings, "server: {", "server: {ready_requires: [\"upstream:up\"], ", 1)
	g := run(t, required+"upstreams: [{name: up, targets: [{url: \"http://127.0.0.1:1\"}]}]\nroutes: [{path: /*, upstream: up}]\n")
	f := func(mode, state string, reasons ...string) {
		t.Helper()
		if _, _, err := g.SetEndpoint("up", "http://127.0.0.1:1", admin.EndpointChange{Mode: mode}); err != nil {
			t.Fatal(err)
		}
		if s := g.Status(); s.Ready != (len(reasons) == 0) || !slices.Equal(s.NotReady, reasons) {
			t.Errorf("%s: ready %v, %q, want %q", mode, s.Ready, s.NotReady, reasons)
		}
		if d := g.Dependencies()[0]; d.Kind != admin.KindUpstream || d.State != state || !d.Required {
			t.Errorf("%s: %+v, want %s", mode, d, state)
		}
	}
	testkit.Eventually(t, testkit.Patience, "the gateway to be ready", func() bool { return g.Status().Ready })
	f(admin.ModeEnabled, admin.DependencyUp)
	f(admin.ModeDisabled, admin.DependencyDown, "upstream:up has no available endpoint")
	f(admin.ModeEnabled, admin.DependencyUp)
}

func TestStateOfEndpoint(t *testing.T) {
	e := balancer.NewEndpoint(1, true)
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, admin.StateUp},
		{func() { e.SetRamp(1) }, admin.StateWarming},
		{func() { e.SetBroken(true) }, admin.StateBroken},
		{func() { e.SetEjected(true) }, admin.StateEjected},
		{func() { e.SetUp(false) }, admin.StateDown},
		{func() { e.SetWeight(0) }, admin.StateDrained},
		{func() { e.SetMode(balancer.Disabled) }, admin.StateDisabled},
		{func() { e.Retire() }, admin.StateRetired},
	} {
		step.change()
		if got := stateOf(e); got != step.want {
			t.Errorf("state is %s, want %s", got, step.want)
		}
	}
}

func TestUpstreamHealthLeavesOutWhatIsDrained(t *testing.T) {
	f := func(states, want string) {
		t.Helper()
		var v admin.Upstream
		for state := range strings.FieldsSeq(states) {
			v.Endpoints = append(v.Endpoints, admin.Endpoint{State: state})
		}
		if got := upstreamHealth(&v); got != want {
			t.Errorf("%q: %s, want %s", states, got, want)
		}
	}
	f("", admin.DependencyDown)
	f("up warming", admin.DependencyUp)
	f("up drained disabled retired", admin.DependencyUp)
	f("up down", admin.DependencyDegraded)
	f("up broken", admin.DependencyDegraded)
	f("down ejected", admin.DependencyDown)
	f("drained", admin.DependencyDown)
}

func TestPlanFindsUpstreams(t *testing.T) {
	_, _, err := (&plan{}).find("users", "h:80")
	if missing := (*admin.NotFound)(nil); !errors.As(err, &missing) || missing.Kind != "upstream" || missing.Name != "users" {
		t.Errorf("find: %v", err)
	}
}
