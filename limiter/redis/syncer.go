package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/salgue441/velocity/limiter"
)

// Syncer exchanges counts with other nodes. There is one in a process, for all limiters.
// All methods are safe for concurrent use.
type Syncer struct {
	opts    Options
	names   names
	scripts scripts

	members atomic.Pointer[members]
	client  atomic.Pointer[rueidis.Client]
	healthy atomic.Bool // state.Connected for Decide
	// suspected wakes the goroutine when a decision failed.
	suspected chan struct{}
	// deciding bounds the requests that wait for Redis at one time.
	deciding chan struct{}

	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	state State // under mu
	// leaving are limiters that tell once more what they took. Under mu.
	leaving []*member

	// What follows belongs to the goroutine.
	nodes   nodes
	tags    []tagState
	pending []*batch
	taken   []limiter.Taken
	life    string // this process among those that were called the same
	number  uint64
	width   int // batches per exchange
	beaten  time.Time
	clock   time.Duration // of Redis less ours
}

// members are the limiters of the present configuration.
type members struct {
	list []*member
	of   map[*limiter.Limiter]*member
}

// tagState is what is known of the data of one hash tag.
type tagState struct {
	epoch       string
	repairUntil time.Time
	repaired    map[string]bool // keys, since the loss
}

// mostDeciding is how many requests may wait for Redis at one time; others are decided
// here.
const mostDeciding = 512

// New starts a Syncer, which need not find Redis: it goes on trying until Close.
func New(o Options) (*Syncer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("build redis syncer: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Syncer{
		opts: o, names: newNames(o.Prefix, o.Tags), scripts: newScripts(), deciding: make(chan struct{}, mostDeciding),
		suspected: make(chan struct{}, 1),
		stop:      stop, done: make(chan struct{}), tags: make([]tagState, o.Tags), nodes: nodes{known: o.Nodes}, width: mostBatches, life: rand.Text(),
		state: State{Nodes: o.Nodes, Since: time.Now(), Error: "not connected yet"},
	}
	s.members.Store(&members{})
	go s.run(ctx)
	return s, nil
}

// Set replaces the limiters that are shared, after a reload for instance, before requests
// come to the new ones. Counts go on where names and rules are the same. Of those that
// are gone, what was taken until the next exchange is still told.
func (s *Syncer) Set(list []Member) error {
	next := &members{of: make(map[*limiter.Limiter]*member, len(list))}
	names := make(map[string]bool, len(list))
	var problems []error
	for _, m := range list {
		made, err := newMember(m)
		if err == nil && names[m.Name] {
			err = fmt.Errorf("limiter %q: the name is taken", m.Name)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		names[m.Name] = true
		next.list = append(next.list, made)
		next.of[made.Limiter] = made
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("share limiters: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.members.Load()
	for _, m := range old.list {
		if kept := next.of[m.Limiter]; kept != nil {
			kept.share, kept.took = m.share, m.took
		} else {
			s.leaving = append(s.leaving, m)
		}
	}
	s.members.Store(next)
	s.shareLocked()
	return nil
}

// shareLocked tells every limiter how much it may give out.
func (s *Syncer) shareLocked() {
	for _, m := range s.members.Load().list {
		share := limiter.Share{Nodes: s.state.Nodes, Exchanged: true}
		switch {
		case !s.state.Connected && s.opts.OnFailure == Deny:
			share = limiter.Share{Deny: true}
		case !s.state.Connected && s.opts.OnFailure == Allow:
			share = limiter.Share{Allow: true}
		case !s.state.Connected || m.Mode == Exact:
			share.Exchanged = false
		}
		if share != m.share {
			m.share = share
			m.Limiter.SetShare(share, s.opts.Now())
		}
	}
}

// run exchanges counts until it is stopped.
func (s *Syncer) run(ctx context.Context) {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.suspected:
			s.beaten = time.Time{}
		case <-timer.C:
		}
		wait, err := s.round(ctx)
		if err != nil {
			failures = min(failures+1, 4)
			wait = s.opts.Interval << (failures - 1)
		} else {
			failures = 0
		}
		timer.Reset(wait)
	}
}

// Close tells once more what was taken, as far as ctx and Options.Timeout allow, and takes
// the node out of the others' count. Limiters keep the share that they have.
func (s *Syncer) Close(ctx context.Context) error {
	s.stop()
	select {
	case <-s.done:
	case <-ctx.Done():
		return fmt.Errorf("close redis syncer: %w", ctx.Err())
	}
	c := s.client.Swap(nil)
	if c == nil {
		return nil
	}
	defer (*c).Close()
	limited, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	if err := s.exchange(limited, *c, nil); err != nil {
		return fmt.Errorf("close redis syncer: %w", err)
	}
	leave := (*c).B().Zrem().Key(s.names.nodes()).Member(s.opts.Node).Build()
	if err := (*c).Do(limited, leave).Error(); err != nil {
		return fmt.Errorf("close redis syncer: %w", err)
	}
	return nil
}

// connected returns the client, and makes it if there is none. It waits for Redis.
func (s *Syncer) connected() (rueidis.Client, error) {
	if c := s.client.Load(); c != nil {
		return *c, nil
	}
	c, err := rueidis.NewClient(s.opts.client())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s.client.Store(&c)
	return c, nil
}
