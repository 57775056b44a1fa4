package breaker

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// naiveWindow is the list of all that was counted.
type naiveWindow struct {
	at       []int64
	failedAt []int64
	slowAt   []int64
}

func since(list []int64, from int64) int {
	n := 0
	for _, at := range list {
		if at >= from {
			n++
		}
	}
	return n
}

// sums counts what is not older than age.
func (w *naiveWindow) sums(now, age int64) sums {
	from := now - age + 1
	return sums{since(w.at, from), since(w.failedAt, from), since(w.slowAt, from)}
}

// TestWindowAgainstList: a window counts exactly the last nine buckets and what
// there is of the tenth: at least 90 % of its duration, at most all of it.
func TestWindowAgainstList(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		length := 1 + random.Int64N(int64(time.Second))
		w, list := &window{length: length}, naiveWindow{}
		now := random.Int64N(1000 * length)
		for range 300 {
			if random.IntN(4) == 0 {
				now += random.Int64N(1 + length*int64(1+random.IntN(15)))
			}
			number := w.number(now)
			w.total.add(number)
			list.at = append(list.at, now)
			if random.IntN(2) == 0 {
				w.failed.add(number)
				list.failedAt = append(list.failedAt, now)
			}
			if random.IntN(3) == 0 {
				w.slow.add(number)
				list.slowAt = append(list.slowAt, now)
			}
			look := now + random.Int64N(2*length)
			got := w.sums(look)
			if want := list.sums(look, look%length+9*length+1); got != want {
				t.Fatalf("counts %+v, want %+v", got, want)
			}
			least, most := list.sums(look, 9*length), list.sums(look, 10*length)
			if got.requests < least.requests || got.requests > most.requests {
				t.Fatalf("counts %d, want %d to %d", got.requests, least.requests, most.requests)
			}
		}
	}
}

// TestWindowLate: what comes late counts if its bucket is still there, and never
// brings an old bucket back.
func TestWindowLate(t *testing.T) {
	w := &window{length: 10}
	w.total.add(w.number(1000))
	w.total.add(w.number(955))
	w.total.add(w.number(900)) // its bucket is that of 1000
	if n := w.sums(1000).requests; n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	w.total.add(w.number(1050)) // takes the place of 950
	w.total.add(w.number(955))
	if n := w.sums(1050).requests; n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// TestWindowAfterYears: the numbers of buckets and their counts share a word.
func TestWindowAfterYears(t *testing.T) {
	w := newWindow(minWindow)
	for _, start := range []int64{0, 1 << 31, 1 << 32, 20 * 365 * 24 * 3600 * 100} {
		for i := range int64(60) {
			now := (start + i) * w.length
			w.total.add(w.number(now))
			if got, want := w.sums(now).requests, int(min(i+1, buckets)); got != want {
				t.Errorf("%d in bucket %d+%d, want %d", got, start, i, want)
			}
		}
	}
	w.total[0].Store(mostCount)
	for range 10 {
		w.total.add(0)
	}
	if n := w.sums(0).requests; n != mostCount {
		t.Errorf("a full bucket counts %d, want %d", n, mostCount)
	}
}

func TestWindowResized(t *testing.T) {
	w := newWindow(10 * time.Second)
	for i := range int64(30) {
		now := i * int64(time.Second)
		w.total.add(w.number(now))
		w.failed.add(w.number(now))
	}
	now := int64(29 * time.Second)
	for d, want := range map[time.Duration]int{10 * time.Second: 10, 5 * time.Second: 5, time.Minute: 10, 2 * time.Second: 2} {
		if got := w.resized(d).sums(now); got.requests != want || got.failed != want {
			t.Errorf("resized to %v: %+v, want %d", d, got, want)
		}
	}
}

// TestWindowLosesNothing: at rotation, with everybody counting, each event counts
// exactly once.
func TestWindowLosesNothing(t *testing.T) {
	const goroutines, each = 4, 20_000
	w := &window{length: 1000}
	var clock struct {
		sync.Mutex
		now int64
	}
	counted := make(map[int64]int)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				clock.Lock()
				clock.now += 10
				now := clock.now
				clock.Unlock()
				number := w.number(now)
				w.total.add(number)
				w.failed.add(number)
				if n := w.sums(now); n.failed > n.requests || n.requests < 0 || n.requests > 1000+goroutines {
					t.Errorf("counts %+v", n)
				}
			}
		})
	}
	wg.Wait()
	for i := range int64(goroutines * each) {
		counted[(i+1)*10/w.length]++
	}
	want, last := 0, clock.now/w.length
	for number := last - 9; number <= last; number++ {
		want += counted[number]
	}
	// One that was held up for a whole window counts later, or not at all.
	if got := w.sums(clock.now); got.requests < want-goroutines || got.requests > want+goroutines {
		t.Errorf("counts %+v, want %d", got, want)
	}
}
