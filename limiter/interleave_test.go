package limiter

import (
	"fmt"
	"testing"
	"time"
)

// The tests of this file run several requests for one hot key in every possible order
// of their atomic steps, and compare each outcome with what a bucket behind one
// lock could have answered.

// call is one operation of a thread, with what it came to.
type call struct {
	n        int64  // units; below 0 is a release or a refund of -n
	at       int64  // ns after start
	shard    uint32 // added to the thread's number
	allowed  bool
	from, to int // steps of the schedule
}

// world is a limiter's state with its threads.
type world struct {
	plan    *plan
	hot     *hot
	threads [][]call

	waits   []chan struct{} // a thread waits here for its turn
	arrived chan arrival
	state   []threadState
	locked  bool
	clock   int
}

type threadState struct {
	done bool
	next step
}

type arrival struct {
	thread int
	step   step
	done   bool
}

// run plays the threads by the choices, which name one of the threads that can go on,
// and returns how many there were at each turn.
func (w *world) run(choices []int) (options, taken []int) {
	w.waits = make([]chan struct{}, len(w.threads))
	w.state = make([]threadState, len(w.threads))
	w.arrived = make(chan arrival)
	current := -1
	w.hot.step = func(s step) {
		me := current // only the thread whose turn it is runs
		w.arrived <- arrival{thread: me, step: s}
		<-w.waits[me]
	}
	for i := range w.threads {
		w.waits[i] = make(chan struct{})
		current = i
		go w.thread(i)
		w.await()
	}
	for turn := 0; ; turn++ {
		ready := w.ready()
		if len(ready) == 0 {
			return options, taken
		}
		choice := 0
		if turn < len(choices) {
			choice = choices[turn]
		}
		options, taken = append(options, len(ready)), append(taken, choice)
		current = ready[choice]
		switch w.state[current].next {
		case stepLock:
			w.locked = true
		case stepUnlock:
			w.locked = false
		}
		w.clock++
		w.waits[current] <- struct{}{}
		w.await()
	}
}

// await blocks until the running thread has come to its next step.
func (w *world) await() {
	a := <-w.arrived
	w.state[a.thread] = threadState{done: a.done, next: a.step}
}

func (w *world) ready() []int {
	var ready []int
	for i, s := range w.state {
		if !s.done && (s.next != stepLock || !w.locked) {
			ready = append(ready, i)
		}
	}
	return ready
}

func (w *world) thread(i int) {
	for n := range w.threads[i] {
		c := &w.threads[i][n]
		if n > 0 {
			w.hot.at(stepLoad) // others may begin and end calls between these two
		}
		c.from = w.clock
		r := &Request{Cost: c.n, At: later(c.at), Shard: uint32(i) + c.shard}
		switch {
		case c.n >= 0:
			var d Decision
			c.allowed = w.hot.allow(w.plan, r, &d)
		case w.plan.concurrent:
			w.hot.release(w.plan, r, -c.n)
			c.allowed = true
		default:
			w.hot.refund(w.plan, r, -c.n, r.At)
			c.allowed = true
		}
		c.to = w.clock
	}
	w.arrived <- arrival{thread: i, done: true}
}

func later(ns int64) Instant { return Instant{Mono: start.Mono + ns, Wall: start.Wall + ns} }

// linearizable reports whether some order of the calls that agrees with real time gives
// the same answers from the model. What has been applied is a bit set.
func (w *world) linearizable(rules []Rule, prepare []call) bool {
	var calls []call
	for _, t := range w.threads {
		calls = append(calls, t...)
	}
	var try func(order []call, done uint32) bool
	try = func(order []call, done uint32) bool {
		if len(order) == len(calls) {
			return agrees(rules, prepare, order)
		}
		for i, c := range calls {
			if done>>i&1 == 0 && mayBeNext(calls, done, c) && try(append(order, c), done|1<<i) {
				return true
			}
		}
		return false
	}
	return try(nil, 0)
}

// mayBeNext reports whether no call that is left had ended before c began.
func mayBeNext(calls []call, done uint32, c call) bool {
	for i, o := range calls {
		if done>>i&1 == 0 && o.to < c.from {
			return false
		}
	}
	return true
}

// agrees reports whether the models answer the same, in the given order. Their clock
// never goes backward.
func agrees(rules []Rule, prepare, order []call) bool {
	models := make([]model, 0, len(rules))
	for _, r := range rules {
		models = append(models, newModel(r, start))
	}
	now := int64(0)
	for _, c := range append(append([]call(nil), prepare...), order...) {
		now = max(now, c.at)
		allowed := true
		for _, m := range models {
			allowed = allowed && (c.n < 0 || m.left(later(now)) >= max(c.n, 1))
		}
		if allowed != c.allowed {
			return false
		}
		for _, m := range models {
			if allowed {
				m.take(later(now), c.n)
			}
		}
	}
	return true
}

// TestEveryInterleaving enumerates the orders.
func TestEveryInterleaving(t *testing.T) {
	bucket := []Rule{{Name: "r", Algorithm: TokenBucket, Limit: 8, Window: 8 * time.Second}}
	fixed := []Rule{{Name: "r", Algorithm: FixedWindow, Limit: 8, Window: 8 * time.Second}}
	sliding := []Rule{{Name: "r", Algorithm: SlidingWindow, Limit: 8, Window: 8 * time.Second}}
	two := []Rule{bucket[0], {Name: "w", Algorithm: FixedWindow, Limit: 6, Window: time.Hour}}
	held := []Rule{{Name: "r", Algorithm: Concurrency, Limit: 2}}
	held8 := []Rule{{Name: "r", Algorithm: Concurrency, Limit: 8}}
	take := func(n, at int64) call { return call{n: n, at: at} }
	got := func(n int64) call { return call{n: n, allowed: true} }
	second := int64(time.Second)

	for name, c := range map[string]struct {
		rules   []Rule
		prepare []call // done before, all allowed, with shard 0, but what is released goes to shard 1
		threads [][]call
	}{
		"the last unit":             {bucket, []call{got(1), got(6)}, [][]call{{take(1, 0)}, {take(1, 0)}}},
		"units in the other shard":  {bucket, []call{got(4)}, [][]call{{take(1, 0)}, {take(4, 0)}}},
		"all units at once":         {bucket, []call{got(1)}, [][]call{{take(7, 0)}, {take(1, 0)}}},
		"two each":                  {bucket, []call{got(4)}, [][]call{{take(1, 0), take(2, 0)}, {take(2, 0)}}},
		"refill":                    {bucket, []call{got(4)}, [][]call{{take(1, second)}, {take(5, second)}}},
		"refill in between":         {bucket, []call{got(1)}, [][]call{{take(1, 0)}, {take(8, 2*second)}}},
		"full again":                {bucket, []call{got(1)}, [][]call{{take(1, 5*second)}, {take(8, 5*second)}}},
		"refund":                    {bucket, []call{got(1), got(7)}, [][]call{{take(-1, 0)}, {take(1, 0)}}},
		"refund and two":            {bucket, []call{got(2)}, [][]call{{take(-2, 0)}, {take(6, 0)}}},
		"nothing left":              {bucket, []call{got(8)}, [][]call{{take(1, 0)}, {take(1, second)}}},
		"window":                    {fixed, []call{got(3)}, [][]call{{take(1, 0)}, {take(4, 0)}}},
		"window ends":               {fixed, []call{got(3)}, [][]call{{take(1, 0)}, {take(8, 8*second)}}},
		"sliding window ends":       {sliding, []call{got(3)}, [][]call{{take(1, 0)}, {take(2, 9*second)}}},
		"two rules":                 {two, []call{got(1)}, [][]call{{take(2, 0)}, {take(3, 0)}}},
		"two rules, last":           {two, []call{got(5)}, [][]call{{take(1, 0)}, {take(1, 0)}}},
		"held":                      {held, []call{got(1)}, [][]call{{take(-1, 0)}, {take(1, 0), take(1, 0)}}},
		"held all":                  {held, []call{got(2)}, [][]call{{take(-1, 0)}, {take(1, 0)}}},
		"held, released and retook": {held, []call{got(1)}, [][]call{{take(-1, 0), take(1, 0)}, {take(1, 0)}}},
		"held in shards":            {held8, []call{got(4)}, [][]call{{take(-1, 0), take(1, 0)}, {take(4, 0)}}},
		"held, passed round":        {held, []call{got(1), got(1), got(-1)}, [][]call{{take(-1, 0), {n: 1, shard: 1}}, {{n: 1, shard: 1}}}},
		"three":                     {bucket, []call{got(6)}, [][]call{{take(1, 0)}, {take(1, 0)}, {take(1, 0)}}},
	} {
		t.Run(name, func(t *testing.T) {
			explore(t, c.rules, c.prepare, c.threads)
		})
	}
}

// explore goes depth first through all schedules: it replays one, and then the next
// that differs as late as possible.
func explore(t *testing.T, rules []Rule, prepare []call, threads [][]call) {
	runs, local := 0, 0
	for choices := []int(nil); ; {
		w := prepared(t, rules, prepare, threads)
		options, taken := w.run(choices)
		runs++
		if !w.linearizable(rules, prepare) {
			t.Fatalf("schedule %v: no bucket behind one lock would have answered %+v", taken, w.threads)
		}
		local += int(w.hot.shards[0].admitted.Load())
		i := len(taken) - 1
		for i >= 0 && taken[i]+1 == options[i] {
			i--
		}
		if i < 0 {
			break
		}
		choices = append(taken[:i:i], taken[i]+1)
	}
	t.Logf("%d orders, %d requests admitted by shard 0 alone", runs, local)
	if runs < 5 {
		t.Errorf("only %d orders: the steps are not seen", runs)
	}
}

func prepared(t *testing.T, rules []Rule, prepare []call, threads [][]call) *world {
	p, err := compile(rules, start)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{plan: p, hot: newHot(p, 2, nil)}
	for _, c := range prepare {
		var d Decision
		if c.n < 0 {
			w.hot.release(p, &Request{Shard: 1}, -c.n)
		} else if !w.hot.allow(p, &Request{Cost: c.n, At: later(c.at)}, &d) {
			t.Fatal(fmt.Errorf("prepare: %+v was refused", c))
		}
	}
	for _, calls := range threads {
		w.threads = append(w.threads, append([]call(nil), calls...))
	}
	return w
}
