package upstream

import (
	"fmt"
	"hash/fnv"
	"sync/atomic"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
)

// Upstream is a named group of endpoints behind one picker. Its name is its
// identity across reloads. Endpoints and picker change together, behind one
// pointer, so a request never sees an index into another list.
type Upstream struct {
	// Latency is how long recent replies took. Only routes that hedge by a
	// percentile feed it.
	Latency Latency
	// Breaker is the circuit breaker of all endpoints together, nil for none.
	Breaker atomic.Pointer[breaker.Breaker]

	name     string
	state    atomic.Pointer[State]
	retrying atomic.Int64
	hedging  atomic.Int64
	limit    limit
}

// State is the endpoints of an upstream and the picker over them, immutable.
type State struct {
	// Algorithm is the balancing algorithm's name in the configuration.
	Algorithm string
	// Zone is the gateway's own, empty without a preference.
	Zone string
	// Endpoints is in the picker's index order.
	Endpoints []*Endpoint

	picker balancer.Picker
	tags   map[string]int // index by tag
	tagOf  []string
}

// New returns an upstream without endpoints; Pick finds none until Set.
func New(name string) *Upstream {
	u := &Upstream{name: name}
	u.state.Store(&State{picker: none{}})
	return u
}

// Name returns the upstream's name.
func (u *Upstream) Name() string { return u.name }

// State returns the current endpoints and picker. A request takes it once, so
// that all its attempts pick from the same list.
func (u *Upstream) State() *State { return u.state.Load() }

// Member is an endpoint with what one list says about it; endpoints outlive
// lists.
type Member struct {
	Endpoint *Endpoint
	// Priority is the endpoint's level in failover; 0 is the highest.
	Priority int
	// Zone is where the endpoint is.
	Zone string
	// Tag is the endpoint's name in a sticky cookie, empty for none. It must not be
	// guessable, and is the same on all gateways.
	Tag string
}

// Members returns endpoints as members of the highest priority and of no zone.
func Members(endpoints ...*Endpoint) []Member {
	members := make([]Member, len(endpoints))
	for i, e := range endpoints {
		members[i].Endpoint = e
	}
	return members
}

// NewState checks a list of endpoints and prepares its picker. In consistent
// hashes a target goes by its URL, so that all gateways agree.
func NewState(s balancer.Settings, members ...Member) (*State, error) {
	state := &State{
		Algorithm: s.Algorithm, Zone: s.Zone, Endpoints: make([]*Endpoint, len(members)),
		tags: make(map[string]int), tagOf: make([]string, len(members)),
	}
	live := make([]balancer.Member, len(members))
	for i, m := range members {
		state.Endpoints[i] = m.Endpoint
		if m.Tag != "" {
			state.tags[m.Tag], state.tagOf[i] = i, m.Tag
		}
		live[i] = balancer.Member{Endpoint: m.Endpoint.Live, ID: identity(m.Endpoint.Target), Priority: m.Priority, Zone: m.Zone}
	}
	var err error
	if state.picker, err = balancer.NewPicker(s, live); err != nil {
		return nil, fmt.Errorf("prepare endpoints: %w", err)
	}
	return state, nil
}

// identity is a hash of a target's URL that is the same in every process.
func identity(target string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(target)) // never fails
	return h.Sum64()
}

// Panicking reports whether health is disregarded at present, because too few
// endpoints are healthy. It looks at all of them.
func (s *State) Panicking() bool { return balancer.Panicking(s.picker) }

// Set replaces endpoints and picker in one step. Attempts under way keep the
// state they took.
func (u *Upstream) Set(s *State) { u.state.Store(s) }

// Pick chooses an endpoint that is available and not in q.Tried, marks it tried
// and returns it. It returns nil when there is none left.
func (s *State) Pick(q *balancer.Query) *Endpoint {
	i := s.picker.Pick(q)
	if i < 0 {
		return nil
	}
	q.Tried.Add(i)
	return s.Endpoints[i]
}

// Bound returns the endpoint that a sticky cookie names, marks it tried, and nil
// if there is none such or it no longer serves the clients that are bound to it.
func (s *State) Bound(tag []byte, q *balancer.Query) *Endpoint {
	i, ok := s.tags[string(tag)]
	if !ok || !s.Endpoints[i].Live.Keeps() || q.Tried.Has(i) {
		return nil
	}
	q.Tried.Add(i)
	return s.Endpoints[i]
}

// Tag returns an endpoint's name in a sticky cookie, empty for none.
func (s *State) Tag(e *Endpoint) string {
	for i, other := range s.Endpoints {
		if other == e {
			return s.tagOf[i]
		}
	}
	return ""
}

// Broken reports whether circuit breakers keep requests from any endpoint.
func (s *State) Broken() bool {
	for _, e := range s.Endpoints {
		if e.Live.Broken() {
			return true
		}
	}
	return false
}

// PickRetired returns an endpoint that is up and takes no new requests, nil if
// there is none.
func (s *State) PickRetired() *Endpoint {
	for _, e := range s.Endpoints {
		if e.Live.Up() && e.Live.Retired() {
			return e
		}
	}
	return nil
}

// InFlight returns the attempts under way on all endpoints.
func (s *State) InFlight() int64 {
	var n int64
	for _, e := range s.Endpoints {
		n += e.Live.InFlight()
	}
	return n
}

// BeginRetry asks the retry budget for one more attempt: at most percent of
// the attempts in flight may be retries, and floor of them always. When it
// grants one, EndRetry must follow.
func (u *Upstream) BeginRetry(percent, floor int) bool {
	return u.begin(&u.retrying, percent, floor)
}

func (u *Upstream) begin(running *atomic.Int64, percent, floor int) bool {
	limit := max(u.State().InFlight()*int64(percent)/100, int64(floor))
	if running.Add(1) <= limit {
		return true
	}
	running.Add(-1)
	return false
}

// EndRetry gives back what BeginRetry granted.
func (u *Upstream) EndRetry() { u.retrying.Add(-1) }

// BeginHedge asks the hedge budget, which is apart from that of retries, for
// one more attempt. When it grants one, EndHedge must follow.
func (u *Upstream) BeginHedge(percent, floor int) bool { return u.begin(&u.hedging, percent, floor) }

// EndHedge gives back what BeginHedge granted.
func (u *Upstream) EndHedge() { u.hedging.Add(-1) }

type none struct{}

func (none) Pick(*balancer.Query) int { return -1 }
