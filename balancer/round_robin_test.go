package balancer

import "testing"

// TestRoundRobinOrder looks at the picks themselves.
func TestRoundRobinOrder(t *testing.T) {
	endpoints := fleet(3, 5, 1, 1)
	p := build(t, RoundRobin, endpoints).(*roundRobin)
	f := func(want string) {
		t.Helper()
		p.turn.Store(0)
		var order []int32
		for range len(want) {
			order = append(order, int32(p.Pick(new(Query))))
		}
		if got := letters(order); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("aabacaaaabacaa")
	endpoints[0].SetUp(false)
	p.Pick(new(Query))
	f("bcbcbc")
	endpoints[1].SetWeight(2)
	p.Pick(new(Query))
	p.Pick(new(Query))
	f("bcbbcb")
}

// TestRoundRobinStartsAnywhere: pickers of many gateways do not begin together.
func TestRoundRobinStartsAnywhere(t *testing.T) {
	first := make(map[int]bool)
	for range 200 {
		first[build(t, RoundRobin, fleet(3, 1)).Pick(new(Query))] = true
	}
	if len(first) != 3 {
		t.Errorf("200 pickers began with %v only", first)
	}
}
