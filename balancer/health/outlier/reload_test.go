package outlier

import (
	"testing"
	"time"
)

// TestReload: a call that changes settings or other endpoints leaves ejections and
// counts alone.
func TestReload(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(4)
		a, b := targets[0].Passive, targets[1].Passive
		w.Set("users", Settings{}, targets)
		w.observe(a, "eeeee")
		w.observe(b, "ee")
		advance(time.Second)
		w.Set("users", Settings{Consecutive5xx: 3, MaxEjectionPercent: 50}, []Target{targets[2], targets[1], targets[0]})
		if !a.Endpoint().Ejected() {
			t.Error("the ejection ended with the reload")
		}
		w.observe(b, "e")
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true") // b: 2 of 3 would be over half
		w.Set("users", Settings{Consecutive5xx: 3, MaxEjectionPercent: 50}, targets)
		w.observe(b, "eee")
		w.want("1s b out: consecutive_5xx, 30s, times 1, enforced true")
		if c := w.Counters("users"); c.Detected[Consecutive5xx] != 3 || c.Overflow != 1 {
			t.Errorf("counters %+v", c)
		}
		if s := w.Status("users"); s[0].URL != "a" || s[1].URL != "b" || !s[1].Ejected {
			t.Errorf("status %+v", s)
		}

		// An ejection gets shorter with new settings, never longer.
		w.Set("users", Settings{BaseEjection: 5 * time.Second}, targets)
		advance(4 * time.Second)
		w.want("5s a back: expired, enforced true")
		w.Set("users", Settings{BaseEjection: time.Hour}, targets)
		advance(time.Second)
		w.want("6s b back: expired, enforced true")
	})
}

func TestShorterIntervalAppliesAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(5)
		w.Set("users", Settings{Interval: time.Hour}, targets)
		for _, target := range targets {
			serve(target.Passive, 200, 0, 0)
		}
		serve(targets[0].Passive, 0, 100, 0)
		advance(time.Minute)
		w.Set("users", Settings{Interval: time.Second}, targets)
		advance(time.Second)
		w.want("1m1s a out: success_rate, 30s, times 1, enforced true")
	})
}

func TestForgetting(t *testing.T) {
	f := func(name string, forget func(w *world, kept Target)) {
		t.Helper()
		bubble(t, func(w *world) {
			targets := fleet(2)
			gone := targets[1].Passive
			w.Set("users", Settings{}, targets)
			w.observe(gone, "eeeee")
			forget(w, targets[0])
			w.want("0s b out: consecutive_5xx, 30s, times 1, enforced true", "0s b back: unwatched, enforced true")
			if gone.Endpoint().Ejected() {
				t.Errorf("%s: the endpoint is ejected for good", name)
			}
			w.observe(gone, "eeeeeeeeee")
			w.want()

			// It comes back as a new one.
			w.Set("users", Settings{}, targets)
			w.observe(gone, "eeee")
			forget(w, targets[0])
			w.Set("users", Settings{}, targets)
			w.observe(gone, "eeee")
			w.want()
			w.observe(gone, "e")
			w.want("0s b out: consecutive_5xx, 30s, times 1, enforced true")
		})
	}
	f("Set", func(w *world, kept Target) { w.Set("users", Settings{}, []Target{kept}) })
	f("Set to none", func(w *world, _ Target) { w.Set("users", Settings{}, nil) })
	f("Remove", func(w *world, _ Target) { w.Remove("users") })
}

// TestForgottenRates: what an endpoint did before it was watched is no part of its
// first interval.
func TestForgottenRates(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(5)
		for _, target := range targets {
			serve(target.Passive, 200, 0, 0)
		}
		serve(targets[0].Passive, 0, 200, 0)
		w.Set("users", Settings{}, targets)
		advance(10 * time.Second)
		w.want()
	})
}

// TestMoving: an endpoint is watched for one upstream, the last that listed it.
func TestMoving(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(1)
		w.Set("users", Settings{}, targets)
		w.observe(targets[0].Passive, "eeeee")
		w.Set("orders", Settings{}, targets)
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true", "0s a back: unwatched, enforced true")
		if w.Status("users") != nil || len(w.Status("orders")) != 1 {
			t.Error("listed for the old upstream, or not for the new one")
		}
	})
}

func TestReturnByHand(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(2)
		a := targets[0].Passive
		w.Set("users", Settings{}, targets)
		if w.Return(a) || w.Return(nil) || w.Return(passive()) {
			t.Error("returned what was not out")
		}
		w.observe(a, "eeeee")
		advance(time.Second)
		if !w.Return(a) || a.Endpoint().Ejected() {
			t.Error("not returned")
		}
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true", "1s a back: released, enforced true")
		advance(time.Minute)
		w.want()
	})
}
