package redis

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/salgue441/velocity/limiter"
)

// mostEntries bounds a batch, and so how long one script keeps Redis from others.
const mostEntries = 512

// mostBatches bounds an exchange, so that it ends in time. What is more waits for the next
// one, which follows at once.
const mostBatches = 16

// entry is what was taken of one rule and key.
type entry struct {
	limiter.Taken
	of   *member
	left float64 // as far as known after the last answer
	dt   float64 // ms over which it was taken
}

// batch is entries of one tag, which are applied all or none, and once: it is sent under
// the same number until there is an answer.
type batch struct {
	number     uint64
	tag, chunk int
	entries    []entry
	made       time.Time
	// As last sent.
	epoch string
	keys  []string
}

// collect asks all limiters what was taken.
func (s *Syncer) collect() {
	s.mu.Lock()
	list := append(s.leaving, s.members.Load().list...)
	s.leaving = nil
	connected := s.state.Connected
	now, at := time.Now(), s.opts.Now()
	since := make([]time.Duration, len(list))
	for i, m := range list {
		if since[i] = s.opts.Interval; !m.took.IsZero() {
			since[i] = now.Sub(m.took)
		}
		m.took = now
	}
	s.mu.Unlock()
	open := make(map[int]*batch)
	chunks := make(map[int]int)
	for i, m := range list {
		s.taken = m.Limiter.AppendTaken(s.taken[:0], at)
		for _, t := range s.taken {
			r := &m.rules[t.Rule]
			if r.limit == 0 {
				continue
			}
			tag := s.names.tag(m, t.Key)
			b := open[tag]
			if b == nil || len(b.entries) == mostEntries {
				s.number++
				b = &batch{number: s.number, tag: tag, chunk: chunks[tag], made: now}
				chunks[tag]++
				open[tag] = b
				s.pending = append(s.pending, b)
			}
			b.entries = append(b.entries, s.entry(m, t, since[i], connected))
		}
	}
}

// entry prepares what was taken for the way. After an outage most of what was taken of a
// bucket has flowed back: only what has not is told.
func (s *Syncer) entry(m *member, t limiter.Taken, dt time.Duration, connected bool) entry {
	if m.rules[t.Rule].rate > 0 && (!connected || dt > s.overdue()) {
		t.Units = min(t.Units, t.Level/float64(s.nodes.known))
		dt = s.opts.Interval
	}
	return entry{Taken: t, of: m, left: t.Left, dt: float64(dt) / 1e6}
}

// overdue is after which time without an answer what was taken of a bucket is taken to
// have flowed back.
func (s *Syncer) overdue() time.Duration { return 4*s.opts.Interval + s.opts.Timeout }

// age drops what was taken of buckets from batches that could not be told for long. Even
// with nothing in it a batch finds out whether the server of its tag answers again.
func (s *Syncer) age(now time.Time) {
	for _, b := range s.pending {
		if now.Sub(b.made) < s.overdue() {
			continue
		}
		entries := b.entries[:0]
		for _, e := range b.entries {
			if e.of.rules[e.Rule].rate == 0 {
				entries = append(entries, e)
			}
		}
		clear(b.entries[len(entries):])
		b.entries = entries
	}
}

// invocation is the script with what the batch tells.
func (s *Syncer) invocation(b *batch, now time.Time) invocation {
	tag := &s.tags[b.tag]
	number := strconv.FormatUint(b.number, 10)
	if !now.Before(tag.repairUntil) {
		tag.repaired = nil
	}
	keys := make([]string, 0, 2+len(b.entries))
	args := make([]string, 0, 3+6*len(b.entries))
	keys = append(keys, s.names.batch(b.tag, b.chunk, s.life), s.names.epoch(b.tag))
	args = append(args, number, tag.epoch, s.life+"-"+number)
	for i := range b.entries {
		e := &b.entries[i]
		r := &e.of.rules[e.Rule]
		key := s.names.count(b.tag, e.of, e.Account, e.Rule, e.Key, e.Start)
		keys = append(keys, key)
		repair := "0"
		if tag.repaired != nil && !tag.repaired[key] {
			repair = "1"
		}
		if r.rate > 0 {
			args = append(args, "b", format(e.Units), format(e.Level), format(r.rate), format(e.dt), repair)
		} else {
			args = append(args, "w", format(e.Units), format(e.Level), format(r.end(e.Start)), "0", repair)
		}
	}
	b.epoch, b.keys = tag.epoch, keys[2:]
	return invocation{script: s.scripts.exchange, keys: keys, args: args}
}

func format(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// receive applies an answer, and reports whether Redis has lost its data meanwhile.
func (s *Syncer) receive(b *batch, r rueidis.RedisResult, now limiter.Instant) (lost bool, err error) {
	values, err := r.ToArray()
	if err != nil {
		return false, err
	}
	if len(values) != 2+len(b.entries) {
		return false, fmt.Errorf("%d values came back for %d", len(values), len(b.entries))
	}
	epoch, err := values[0].ToString()
	if err != nil {
		return false, err
	}
	tag := &s.tags[b.tag]
	lost = b.epoch != "" && b.epoch != epoch
	if lost && tag.epoch != epoch {
		tag.repairUntil, tag.repaired = time.Now().Add(s.longest()), make(map[string]bool)
	}
	tag.epoch = epoch
	if tag.repaired != nil {
		for _, key := range b.keys {
			tag.repaired[key] = true
		}
	}
	for i := range b.entries {
		level, err := values[2+i].AsFloat64()
		if err != nil {
			return lost, err
		}
		e := &b.entries[i]
		e.left -= max(0, level-e.Level)
		e.of.Limiter.Apply(e.Taken, level, now)
	}
	return lost, nil
}

// longest is how long keys are repaired after a loss of data: for the longest window, by
// the end of which it is forgotten, but for an hour at most.
func (s *Syncer) longest() time.Duration {
	longest := time.Minute
	for _, m := range s.members.Load().list {
		for i := range m.rules {
			if r := &m.rules[i]; r.Period != "" {
				return time.Hour
			} else if r.Window > 0 {
				longest = max(longest, 2*r.Window)
			}
		}
	}
	return min(longest, time.Hour)
}
