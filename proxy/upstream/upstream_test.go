package upstream

import (
	"strings"
	"testing"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/telemetry"
)

func member(t *testing.T, target string, priority int) Member {
	t.Helper()
	e, err := NewEndpoint(target, balancer.NewEndpoint(1, true), telemetry.NewRegistry("test").Endpoint("u", target), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	return Member{Endpoint: e, Priority: priority}
}

// TestStatePicks: the endpoint that a pick returns is the one of the picker's
// index, and is tried from then on.
func TestStatePicks(t *testing.T) {
	reserve, first := member(t, "http://127.0.0.1:1", 1), member(t, "http://127.0.0.1:2", 0)
	s, err := NewState(balancer.Settings{Algorithm: balancer.P2C, Panic: 50}, reserve, first)
	if err != nil {
		t.Fatal(err)
	}
	var q balancer.Query
	for _, want := range []*Endpoint{first.Endpoint, reserve.Endpoint, nil} {
		if got := s.Pick(&q); got != want {
			t.Errorf("picked %v, want %v", got, want)
		}
	}
	if s.Panicking() {
		t.Error("panicking with all endpoints up")
	}
	first.Endpoint.Live.SetUp(false)
	reserve.Endpoint.Live.SetUp(false)
	if !s.Panicking() {
		t.Error("not panicking with all endpoints down")
	}
}

// TestStateHashesByTarget: gateways that list the same targets in another order
// agree on where a key is.
func TestStateHashesByTarget(t *testing.T) {
	a, b, c := member(t, "http://127.0.0.1:1", 0), member(t, "http://127.0.0.1:2", 0), member(t, "http://127.0.0.1:3", 0)
	settings := balancer.Settings{Algorithm: balancer.Maglev}
	s, err := NewState(settings, a, b, c)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewState(settings, c, a, b)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[*Endpoint]bool)
	for key := range uint64(100) {
		x, y := s.Pick(&balancer.Query{Key: key, HasKey: true}), other.Pick(&balancer.Query{Key: key, HasKey: true})
		if x != y {
			t.Fatalf("key %d is at %s and at %s", key, x.Target, y.Target)
		}
		seen[x] = true
	}
	if len(seen) != 3 {
		t.Errorf("100 keys are at %d of 3 endpoints", len(seen))
	}
}

func TestNewStateError(t *testing.T) {
	_, err := NewState(balancer.Settings{Algorithm: "fastest"}, Members(member(t, "http://127.0.0.1:1", 0).Endpoint)...)
	if err == nil || !strings.Contains(err.Error(), `unknown algorithm "fastest"`) {
		t.Errorf("got %v", err)
	}
}
