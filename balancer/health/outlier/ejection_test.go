package outlier

import (
	"testing"
	"time"
)

// TestConsecutive ejects by rows of failures. Letters are those of observe.
func TestConsecutive(t *testing.T) {
	f := func(settings Settings, results, want string) {
		t.Helper()
		bubble(t, func(w *world) {
			targets := fleet(3)
			w.Set("users", settings, targets)
			w.observe(targets[0].Passive, results)
			got := ""
			if s := w.Status("users")[0]; s.Ejected {
				got = s.Cause.String()
			}
			if got != want || targets[0].Passive.Endpoint().Ejected() != (want != "") {
				t.Errorf("%+v, %s: %q, want %q", settings, results, got, want)
			}
		})
	}
	defaults := Settings{}
	f(defaults, "eeee", "")
	f(defaults, "eeeee", "consecutive_5xx")
	f(defaults, "eeeeseeee", "")
	f(defaults, "ggggg", "consecutive_gateway")
	f(defaults, "lllll", "consecutive_gateway")
	f(defaults, "glglg", "consecutive_gateway")
	f(defaults, "ggegg", "consecutive_5xx")
	f(Settings{ConsecutiveGateway: Off}, "ggggg", "consecutive_5xx")
	f(Settings{Consecutive5xx: Off}, "eeeeeeeeee", "")
	f(Settings{Consecutive5xx: Off}, "eegggge", "")
	f(Settings{Consecutive5xx: Off, ConsecutiveGateway: 2}, "egeg", "")
	f(Settings{Consecutive5xx: 10, ConsecutiveGateway: 3}, "eeeggg", "consecutive_gateway")
	f(Settings{ConsecutiveLocal: 2}, "ll", "") // takes effect only if split
	split := Settings{SplitLocal: true}
	f(split, "llll", "")
	f(split, "lllll", "consecutive_local")
	f(split, "lllleeee", "")
	f(split, "eelleellel", "consecutive_5xx")
	f(split, "llllsllll", "")
	f(Settings{SplitLocal: true, ConsecutiveLocal: Off}, "llllllllll", "")
	f(Settings{Consecutive5xx: 1}, "e", "consecutive_5xx")
}

// TestEjectionTimes: each ejection is longer, to a limit, and each interval in
// service makes the next one shorter.
func TestEjectionTimes(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		a := targets[0].Passive
		w.Set("users", Settings{MaxEjection: 75 * time.Second}, targets)
		w.observe(a, "eeeee")
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true")
		advance(30*time.Second - 1)
		w.want()
		if !a.Endpoint().Ejected() {
			t.Error("returned early")
		}
		advance(1)
		w.want("30s a back: expired, enforced true")
		if a.Endpoint().Ejected() || !a.Endpoint().Available() {
			t.Error("the endpoint is not available again")
		}
		w.observe(a, "eeeee")
		w.want("30s a out: consecutive_5xx, 1m0s, times 2, enforced true")
		advance(time.Minute)
		w.observe(a, "eeeee")
		w.want("1m30s a back: expired, enforced true", "1m30s a out: consecutive_5xx, 1m15s, times 3, enforced true")
		advance(75 * time.Second) // to 2m45s
		w.observe(a, "eeeee")     // times stays at the first one of the longest
		w.want("2m45s a back: expired, enforced true", "2m45s a out: consecutive_5xx, 1m15s, times 3, enforced true")

		// It returns at 4m0s, just before that interval's end. The ends at 4m10s
		// and 4m20s each take one off.
		advance(75*time.Second + 20*time.Second)
		if s := w.Status("users")[0]; s.Times != 1 || s.Ejected {
			t.Errorf("status %+v, want times 1", s)
		}
		w.observe(a, "eeeee")
		w.want("4m0s a back: expired, enforced true", "4m20s a out: consecutive_5xx, 1m0s, times 2, enforced true")
	})
}

// TestReturnIsClean: failures before the return and while out count for nothing.
func TestReturnIsClean(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		a := targets[0].Passive
		w.Set("users", Settings{Consecutive5xx: 5, ConsecutiveGateway: 3}, targets)
		w.observe(a, "eeggg") // the row of 5xx is at its limit too
		w.observe(a, "eeee")  // still on their way when it was ejected
		advance(30 * time.Second)
		w.want("0s a out: consecutive_gateway, 30s, times 1, enforced true", "30s a back: expired, enforced true")
		w.observe(a, "eeee")
		w.want()
		w.observe(a, "e")
		w.want("30s a out: consecutive_5xx, 1m0s, times 2, enforced true")
	})
}

func TestMaxEjectionPercent(t *testing.T) {
	f := func(percent, n, want int) {
		t.Helper()
		bubble(t, func(w *world) {
			targets := fleet(n)
			w.Set("users", Settings{MaxEjectionPercent: percent}, targets)
			for _, target := range targets {
				w.observe(target.Passive, "eeeee")
			}
			c := w.Counters("users")
			if c.Out != want || c.Detected[Consecutive5xx] != uint64(n) || c.Overflow != uint64(n-want) || c.Ejected[Consecutive5xx] != uint64(want) {
				t.Errorf("%d%% of %d: counters %+v, want %d out", percent, n, c, want)
			}
		})
	}
	f(0, 1, 1) // one always may be
	f(0, 9, 1)
	f(0, 10, 1)
	f(0, 19, 1)
	f(0, 20, 2)
	f(Off, 20, 1)
	f(50, 3, 1)
	f(50, 4, 2)
	f(99, 4, 3)
	f(100, 4, 4)
	f(1000, 4, 4)
}

// TestOverflowIsDetectedAgain: an endpoint that may not be ejected is found again
// after another row, when there may be room.
func TestOverflowIsDetectedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		targets := fleet(3)
		w.Set("users", Settings{}, targets)
		w.observe(targets[0].Passive, "eeeee")
		w.observe(targets[1].Passive, "eeeee")
		advance(30 * time.Second)
		w.want("0s a out: consecutive_5xx, 30s, times 1, enforced true", "30s a back: expired, enforced true")
		w.observe(targets[1].Passive, "eeee")
		w.want()
		w.observe(targets[1].Passive, "e")
		w.want("30s b out: consecutive_5xx, 30s, times 1, enforced true")
	})
}
