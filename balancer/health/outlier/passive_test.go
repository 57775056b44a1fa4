package outlier

import (
	"reflect"
	"sync"
	"testing"

	"github.com/salgue441/velocity/balancer"
)

func passive() *Passive { return NewPassive(balancer.NewEndpoint(1, true)) }

func (p *Passive) total() uint64 {
	t := p.tally()
	return t.successes + t.serverErrors + t.localErrors
}

// TestPassiveLayout: what requests write shares no cache line with what they only
// read, nor with another endpoint.
func TestPassiveLayout(t *testing.T) {
	const line = 64
	layout := reflect.TypeFor[Passive]()
	offset := func(name string) uintptr {
		field, ok := layout.FieldByName(name)
		if !ok {
			t.Fatalf("no field %s", name)
		}
		return field.Offset
	}
	if gap := offset("successes") - offset("limits"); gap < 2*line {
		t.Errorf("counters begin %d bytes after what is read", gap)
	}
	if used := offset("next") - offset("successes"); used > line {
		t.Errorf("counters take %d bytes, more than a line", used)
	}
	if gap := layout.Size() - offset("next"); gap < line {
		t.Errorf("%d bytes to the next endpoint", gap)
	}
}

func TestResultOf(t *testing.T) {
	f := func(status int, want Result) {
		t.Helper()
		if got := ResultOf(status); got != want {
			t.Errorf("status %d: result %d, want %d", status, got, want)
		}
	}
	f(101, Success)
	f(200, Success)
	f(404, Success)
	f(499, Success)
	f(500, ServerError)
	f(501, ServerError)
	f(502, GatewayError)
	f(503, GatewayError)
	f(504, GatewayError)
	f(505, ServerError)
	f(599, ServerError)
	f(600, Success)
}

// TestObserveCounts reads results as letters: s is a success, e a server error, g
// a gateway error, l a local one.
func TestObserveCounts(t *testing.T) {
	f := func(split bool, results string, want5xx, wantGateway, wantLocal uint32) {
		t.Helper()
		p := passive()
		p.limits.Store(Settings{SplitLocal: split, Consecutive5xx: 99, ConsecutiveGateway: 99, ConsecutiveLocal: 99}.withDefaults().limits(nil))
		observe(p, results)
		if a, b, c := p.row5xx.Load(), p.rowGateway.Load(), p.rowLocal.Load(); a != want5xx || b != wantGateway || c != wantLocal {
			t.Errorf("split %v, %s: rows %d, %d, %d, want %d, %d, %d", split, results, a, b, c, want5xx, wantGateway, wantLocal)
		}
		if got := p.total(); got != uint64(len(results)) {
			t.Errorf("%s: %d requests", results, got)
		}
	}
	f(false, "s", 0, 0, 0)
	f(false, "eee", 3, 0, 0)
	f(false, "ees", 0, 0, 0)
	f(false, "ggg", 3, 3, 0)
	f(false, "gge", 3, 0, 0) // another error ends the row of gateway errors
	f(false, "lgl", 3, 3, 0) // no answer is as bad as a gateway's
	f(true, "lll", 0, 0, 3)
	f(true, "eel", 2, 0, 1) // no answer says nothing about answers
	f(true, "ggl", 2, 2, 1)
	f(true, "lle", 1, 0, 0) // any answer shows that the connection works
	f(true, "llg", 1, 1, 0)
	f(true, "lls", 0, 0, 0)
}

// observe gives p results, as letters.
func observe(p *Passive, results string) {
	for _, r := range results {
		switch r {
		case 's':
			p.Observe(Success)
		case 'e':
			p.Observe(ServerError)
		case 'g':
			p.Observe(GatewayError)
		case 'l':
			p.Observe(LocalError)
		}
	}
}

func TestObserveUnwatched(t *testing.T) {
	var none *Passive
	none.Observe(ServerError)
	p := passive()
	for range 100 {
		p.Observe(GatewayError)
	}
	if p.total() != 0 || p.tripped.Load() != 0 || p.Endpoint().Ejected() {
		t.Error("an endpoint that nobody watches was judged")
	}
}

// TestObserveConcurrently: no request and no reaching of a limit is lost.
func TestObserveConcurrently(t *testing.T) {
	ejected := make(chan Ejection, 1)
	d := New(Options{OnEject: func(e Ejection) { ejected <- e }})
	defer d.Close()
	targets := make([]Target, 8)
	for i := range targets {
		targets[i].Passive = passive()
	}
	settings := Settings{MaxEjectionPercent: 100}
	d.Set("users", settings, targets)
	const goroutines, each = 8, 2000
	var wait sync.WaitGroup
	for i := range goroutines {
		wait.Go(func() {
			for j := range each {
				targets[(i+j)%len(targets)].Passive.Observe(ServerError)
				if j%500 == 0 {
					d.Set("users", settings, targets)
					d.Status("users")
				}
			}
		})
	}
	out := make(map[*balancer.Endpoint]bool)
	for range targets {
		out[(<-ejected).Endpoint] = true
	}
	wait.Wait()
	if len(out) != len(targets) {
		t.Errorf("%d endpoints were ejected, want %d", len(out), len(targets))
	}
	var requests uint64
	for _, target := range targets {
		requests += target.Passive.total()
		if !target.Passive.Endpoint().Ejected() {
			t.Error("an endpoint that was reported has no flag")
		}
	}
	if requests != goroutines*each {
		t.Errorf("%d requests, want %d", requests, goroutines*each)
	}
}
