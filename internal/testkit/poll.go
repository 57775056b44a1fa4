package testkit

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what should happen at once. It is long
// because a passing test never waits it out, and a busy machine may stall.
const Patience = 10 * time.Second

// pollInterval is how often Eventually looks.
const pollInterval = 2 * time.Millisecond

// Eventually waits until ok reports true and fails the test when that takes
// longer than within; what completes "waited in vain for …".
func Eventually(tb testing.TB, within time.Duration, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	look := time.NewTicker(pollInterval)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			tb.Fatalf("waited %v in vain for %s", within, what)
		}
	}
}
