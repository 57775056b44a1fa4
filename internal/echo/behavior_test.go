package echo

import (
	"sync"
	"testing"
	"time"
)

func TestBehavior(t *testing.T) {
	var mu sync.Mutex
	var waited []time.Duration
	u := start(t, Options{Wait: func(d time.Duration, _ <-chan struct{}) bool {
		mu.Lock()
		defer mu.Unlock()
		waited = append(waited, d)
		return true
	}})
	status := func(method, target string) int {
		t.Helper()
		r, _ := u.do(t, method, target, "")
		return r.StatusCode
	}
	for _, step := range []struct {
		method, target string
		want           int
	}{
		{"GET", "/plain", 200},
		{"POST", "/behavior?status=500&delay=50ms&capacity=1", 200},
		{"GET", "/plain", 500},
		{"GET", "/x?status=404", 500},
		{"GET", "/health", 200},                  // probes see nothing of it
		{"POST", "/behavior?status=99", 400},     // and nothing has changed
		{"POST", "/behavior?statsu=503", 400},    // as here
		{"POST", "/behavior?capacity=zero", 400}, // and here
		{"GET", "/plain", 500},
		{"POST", "/behavior", 200},
		{"GET", "/plain", 200},
		{"GET", "/behavior?status=404", 404}, // a path like any other
	} {
		if got := status(step.method, step.target); got != step.want {
			t.Errorf("%s %s: status %d, want %d", step.method, step.target, got, step.want)
		}
	}
	if len(waited) != 3 || waited[0] != 50*time.Millisecond {
		t.Errorf("waited %v, want three times 50ms", waited)
	}
}

// An instance with a capacity works on no more requests at a time.
func TestBehaviorCapacity(t *testing.T) {
	const capacity, requests = 3, 20
	var mu sync.Mutex
	working, most := 0, 0
	full := make(chan struct{})
	u := start(t, Options{Wait: func(time.Duration, <-chan struct{}) bool {
		mu.Lock()
		if working++; working > most {
			if most = working; most == capacity {
				close(full)
			}
		}
		mu.Unlock()
		<-full
		mu.Lock()
		working--
		mu.Unlock()
		return true
	}})
	u.do(t, "POST", "/behavior?delay=1ms&capacity=3", "")
	var running sync.WaitGroup
	for range requests {
		running.Go(func() { u.do(t, "GET", "/plain", "") })
	}
	running.Wait()
	if most != capacity {
		t.Errorf("worked on %d requests at a time, want %d", most, capacity)
	}
}
