package testkit

import (
	"errors"
	"testing"
	"time"
)

func TestSamples(t *testing.T) {
	var s Samples
	for i := range 100 {
		x := Sample{At: time.Duration(i) * time.Millisecond, Took: time.Duration(100-i) * time.Second, Status: 200, Instance: "a"}
		switch {
		case i < 10:
			x.Status, x.Instance = 503, ""
		case i < 15:
			x.Status, x.Instance, x.Err = 0, "", errors.New("reset")
		case i < 40:
			x.Instance = "b"
		}
		s = append(s, x)
	}
	if n := len(s.Lost()); n != 15 {
		t.Errorf("%d lost, want 15", n)
	}
	if a, b := s.Share("a"), s.Share("b"); a != 0.60 || b != 0.25 {
		t.Errorf("shares %v and %v, want 0.60 and 0.25", a, b)
	}
	if n := len(s.Between(10*time.Millisecond, 20*time.Millisecond)); n != 10 {
		t.Errorf("%d within 10 ms, want 10", n)
	}
	for p, want := range map[float64]time.Duration{0: time.Second, 50: 51 * time.Second, 99: 100 * time.Second, 100: 100 * time.Second} {
		if got := s.Percentile(p); got != want {
			t.Errorf("percentile %v is %v, want %v", p, got, want)
		}
	}
	if o := s.Outcomes(); o["200"] != 85 || o["503"] != 10 || o["reset"] != 5 {
		t.Errorf("outcomes %v", o)
	}
	if none := (Samples{}); none.Share("a") != 0 || none.Percentile(99) != 0 {
		t.Error("figures of nothing are not zero")
	}
}

// A load sends until it is stopped, and records what became of every request.
func TestLoad(t *testing.T) {
	u := NewUpstream(t, "a")
	l := StartLoad(t, Traffic{Addr: u.Addr, Clients: 3, Pause: time.Millisecond})
	Eventually(t, Patience, "twenty requests", func() bool { return len(l.Samples()) >= 20 })
	u.Stop()
	Eventually(t, Patience, "a lost one", func() bool { return len(l.Samples().Lost()) > 0 })
	all := l.Stop()
	if good := int64(len(all) - len(all.Lost())); good == 0 || good > u.Requests() {
		t.Errorf("%d answers to %d requests", good, u.Requests())
	}
	if after := l.Stop(); len(after) != len(all) {
		t.Errorf("%d samples after the end, want %d", len(after), len(all))
	}
}
