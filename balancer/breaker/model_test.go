package breaker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a breaker as its documentation describes it: one goroutine, lists in
// place of counts, and every time-dependent change looked for at every step.
type model struct {
	settings  Settings
	now       int64
	phase     phase
	until     int64 // open, ramping
	rampFrom  int64
	events    []event
	row       int
	streak    int
	opened    int
	succeeded int
	lastProbe int64
	requests  []*request // that have not ended
	changes   []change   // since they were last compared

	asked, admitted int // in the ramp
	expected        float64
}

type event struct {
	at           int64
	failed, slow bool
}

// request is one that was allowed. It counts until the breaker forgets it.
type request struct {
	permit  Permit
	probe   bool
	counted bool
}

func (m *model) enter(p phase) {
	if from := m.phase.state(); from != p.state() {
		m.changes = append(m.changes, change{from, p.state()})
	}
	m.phase = p
}

func (m *model) forgetRequests() {
	for _, r := range m.requests {
		r.counted = false
	}
}

func (m *model) forget() {
	m.events, m.row, m.succeeded = nil, 0, 0
	m.forgetRequests()
}

func (m *model) probes() (n int) {
	for _, r := range m.requests {
		if r.probe && r.counted {
			n++
		}
	}
	return n
}

func (m *model) settle() {
	switch {
	case m.phase == open && m.until >= 0 && m.now >= m.until:
		m.forget()
		m.enter(probing)
	case m.phase == ramping && m.now >= m.until:
		m.streak = 0
		m.enter(closed)
	case m.phase == probing:
		n := m.probes()
		if n > 0 && n+m.succeeded >= m.settings.Probes && m.now >= m.lastProbe+int64(m.settings.ProbeTimeout) {
			m.forgetRequests()
		}
	}
}

func (m *model) open() {
	m.streak++
	m.opened++
	d := m.settings.OpenFor
	for i := 1; i < m.streak && d < m.settings.MaxOpenFor; i++ {
		d = min(2*d, m.settings.MaxOpenFor)
	}
	m.until = m.now + int64(d)
	m.forgetRequests()
	m.enter(open)
}

func (m *model) share() float64 {
	return float64(m.now-m.rampFrom) / float64(m.until-m.rampFrom)
}

// allow returns an error if the breaker's answer is not what it should be.
func (m *model) allow(permit Permit, ok bool) error {
	m.settle()
	want, probe := ok, false
	switch m.phase {
	case closed:
		want = true
	case open:
		want = false
	case probing:
		n := m.probes()
		want, probe = n+m.succeeded < m.settings.Probes, true
	case ramping:
		m.asked++
		m.expected += m.share()
		if ok {
			m.admitted++
		}
		if off := float64(m.admitted) - m.expected; off < -6 || off > 6 {
			return fmt.Errorf("%d of %d admitted in the ramp, want %.1f", m.admitted, m.asked, m.expected)
		}
	}
	if ok != want {
		return fmt.Errorf("allowed %v, want %v", ok, want)
	}
	if ok {
		m.requests = append(m.requests, &request{permit, probe, true})
		m.lastProbe = m.now
	}
	return nil
}

func (m *model) record(i int, outcome Outcome, latency time.Duration) {
	r := m.requests[i]
	m.requests = append(m.requests[:i], m.requests[i+1:]...)
	// A ramp that has come to its end closes when somebody looks, which an outcome
	// that changes nothing else does not do.
	if !r.counted || outcome == Ignored {
		return
	}
	s := &m.settings
	e := event{m.now, outcome == Failure, s.LatencyLimit > 0 && latency > s.LatencyLimit}
	m.events = append(m.events, e)
	if m.row++; !e.failed {
		m.row = 0
	}
	if m.phase == probing {
		m.recordProbe(e)
		return
	}
	if !e.failed && !e.slow {
		return
	}
	wasRamping := m.phase == ramping
	total, failed, slow := m.counts()
	enough := total >= s.MinRequests
	if s.ConsecutiveFailures > 0 && m.row >= s.ConsecutiveFailures ||
		enough && s.ErrorRatio > 0 && float64(failed) >= s.ErrorRatio/100*float64(total)-1e-9 ||
		enough && s.LatencyLimit > 0 && float64(slow) > (1-s.LatencyQuantile/100)*float64(total)+1e-9 ||
		wasRamping && m.row >= 3 {
		m.settle()
		m.open()
	}
}

func (m *model) recordProbe(e event) {
	if e.failed || e.slow {
		m.open()
		return
	}
	m.succeeded++
	if m.succeeded >= m.settings.Probes {
		m.rampFrom, m.until = m.now, m.now+int64(max(m.settings.Ramp, 0))
		m.asked, m.admitted, m.expected = 0, 0, 0
		m.enter(ramping)
		m.settle()
	}
}

func (m *model) counts() (total, failed, slow int) {
	length := int64(m.settings.Window) / buckets
	for _, e := range m.events {
		if e.at/length > m.now/length-buckets {
			total++
			if e.failed {
				failed++
			}
			if e.slow {
				slow++
			}
		}
	}
	return total, failed, slow
}

func (m *model) compare(b *Breaker, changes *[]change) error {
	m.settle()
	status := b.Status(m.now)
	total, failed, slow := m.counts()
	got := compared{status.State, status.Requests, status.Failed, status.Slow, status.InARow, int(status.Opened)}
	want := compared{m.phase.state(), total, failed, slow, m.row, m.opened}
	if got != want || !slices.Equal(*changes, m.changes) {
		return fmt.Errorf("is  %v %v\nnot %v %v", got, *changes, want, m.changes)
	}
	*changes, m.changes = nil, nil
	return nil
}

// compared is what a breaker and the model must agree on.
type compared struct {
	state                                  State
	requests, failed, slow, inARow, opened int
}

// replay has a breaker and the model do what the bytes say.
func replay(settings Settings, script []byte) error {
	settings.Jitter = -1
	var changes []change
	b := New(settings, func(from, to State) { changes = append(changes, change{from, to}) })
	m := &model{settings: b.Settings()}
	for i := 0; i+1 < len(script); i += 2 {
		op, arg := script[i], script[i+1]
		if err := m.step(b, op, arg); err != nil {
			return fmt.Errorf("step %d, %d %d: %w", i/2, op, arg, err)
		}
		if op&0x80 == 0 {
			if err := m.compare(b, &changes); err != nil {
				return fmt.Errorf("after step %d, %d %d:\n%w", i/2, op, arg, err)
			}
		}
	}
	return m.compare(b, &changes)
}

func (m *model) step(b *Breaker, op, arg byte) error {
	switch op % 16 {
	case 0:
		m.now += int64(arg) * int64(m.settings.Window) / 2550
	case 1:
		m.now += int64(arg) * int64(time.Second) / 10
	case 2, 3, 4, 5, 6:
		for range arg % 4 {
			permit, ok := b.Allow(m.now)
			if err := m.allow(permit, ok); err != nil {
				return err
			}
		}
	case 7, 8, 9, 10, 11, 12, 13:
		if len(m.requests) > 0 {
			i := int(arg) % len(m.requests)
			outcome := []Outcome{Success, Success, Success, Failure, Failure, Failure, Ignored}[op%16-7]
			latency := time.Duration(arg/16) * 100 * time.Millisecond
			b.Record(m.now, m.requests[i].permit, outcome, latency)
			m.record(i, outcome, latency)
		}
	case 14:
		m.operate(b, arg)
	case 15:
		s := m.settings
		s.ConsecutiveFailures, s.MinRequests = int(arg%5), 1+int(arg/16)
		s.Jitter = -1
		b.Set(s)
		m.settings = b.Settings()
	}
	return nil
}

func (m *model) operate(b *Breaker, arg byte) {
	switch arg % 8 {
	case 0:
		d := time.Duration(arg/8) * time.Second
		b.Trip(m.now, d)
		if m.until = -1; d > 0 {
			m.until = m.now + int64(d)
		}
		m.opened++
		m.forgetRequests()
		m.enter(open)
	case 1:
		b.Reset(m.now)
		if m.phase == ramping { // its requests go on
			m.events, m.row, m.succeeded = nil, 0, 0
		} else {
			m.forget()
		}
		m.streak = 0
		m.enter(closed)
	}
}

func randomSettings(random *rand.Rand) Settings {
	return Settings{
		Window:              time.Duration(1+random.IntN(20)) * time.Second,
		MinRequests:         1 + random.IntN(12),
		ErrorRatio:          float64(random.IntN(5)) * 25,
		LatencyLimit:        time.Duration(random.IntN(3)) * 500 * time.Millisecond,
		LatencyQuantile:     float64(random.IntN(100)),
		ConsecutiveFailures: random.IntN(6),
		OpenFor:             time.Duration(1+random.IntN(10)) * time.Second,
		MaxOpenFor:          time.Duration(random.IntN(40)) * time.Second,
		Probes:              random.IntN(4),
		ProbeTimeout:        time.Duration(1+random.IntN(10)) * time.Second,
		Ramp:                time.Duration(random.IntN(10)-1) * time.Second,
	}
}

func TestBreakerAgainstModel(t *testing.T) {
	seen := make(map[State]int)
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 5))
		settings := randomSettings(random)
		script := make([]byte, 600)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		if err := replay(settings, script); err != nil {
			t.Fatalf("seed %d, %+v: %v", seed, settings, err)
		}
		b := New(settings, func(_, to State) { seen[to]++ })
		settings.Jitter = -1
		m := &model{settings: b.Settings()}
		for i := 0; i+1 < len(script); i += 2 {
			_ = m.step(b, script[i], script[i+1])
			b.Poll(m.now)
		}
	}
	for _, state := range []State{Closed, Open, HalfOpen} {
		if seen[state] < 300 {
			t.Errorf("the scripts led to %v %d times only", state, seen[state])
		}
	}
}

func FuzzBreaker(f *testing.F) {
	f.Add(uint64(1), []byte{2, 3, 10, 0, 1, 100, 2, 1, 7, 0, 2, 3})
	f.Add(uint64(2), []byte{14, 8, 1, 20, 2, 1, 15, 7, 7, 0, 14, 1})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		if len(script) > 2000 {
			return
		}
		if err := replay(randomSettings(rand.New(rand.NewPCG(seed, 5))), script); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzSettings: no settings make a breaker panic, wedge or report nonsense.
func FuzzSettings(f *testing.F) {
	f.Add(int64(0), 0, 0.0, int64(0), 0.0, 0, int64(0), int64(0), 0.0, 0, int64(0), int64(0))
	f.Add(int64(-1), -1, -1.0, int64(-1), 200.0, -1, int64(-1), int64(-1), -1.0, -1, int64(-1), int64(-1))
	f.Add(int64(1)<<62, math.MaxInt, 1e300, int64(1)<<62, 99.9, math.MaxInt, int64(1)<<62, int64(1)<<62, 1e300, math.MaxInt, int64(1)<<62, int64(1)<<62)
	f.Fuzz(func(t *testing.T, window int64, requests int, ratio float64, limit int64, q float64, row int, openFor, maxOpen int64,
		jitter float64, probes int, timeout, ramp int64,
	) {
		s := Settings{
			time.Duration(window), requests, ratio, time.Duration(limit), q, row, time.Duration(openFor), time.Duration(maxOpen),
			jitter, probes, time.Duration(timeout), time.Duration(ramp),
		}
		b := New(s, nil)
		if n := b.Settings(); n != n.withDefaults() {
			t.Errorf("%+v have defaults %+v", n, n.withDefaults())
		}
		for i := range 100 {
			now := int64(i) * int64(time.Second)
			if p, ok := b.Allow(now); ok {
				b.Record(now, p, Failure, time.Duration(i)*time.Second)
			}
		}
		now := int64(100 * time.Second)
		b.Trip(now, time.Second)
		now += int64(time.Second)
		for range b.Settings().Probes + 1 {
			if p, ok := b.Allow(now); ok {
				b.Record(now, p, Success, 0)
			}
		}
		now += int64(max(b.Settings().Ramp, 0))
		if state := b.State(now); state != Closed {
			t.Errorf("%+v: %v", b.Settings(), b.Status(now))
		}
	})
}
