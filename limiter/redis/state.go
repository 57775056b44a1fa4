package redis

import "time"

// State is how the exchange goes.
type State struct {
	// Connected says that the last exchange worked. If not, limits are divided, or
	// what Options.OnFailure says.
	Connected bool
	// Since is when Connected changed.
	Since time.Time
	// Error is what went wrong last, "" if nothing has yet. It stays after recovery.
	Error string
	// LastExchange is when an exchange worked last, zero if none has.
	LastExchange time.Time
	// RoundTrip is how long the last one took.
	RoundTrip time.Duration
	// Nodes is how many live, this one among them; while Redis cannot be asked, how
	// many there were.
	Nodes int
	// Clock is how much Redis's clock is ahead of this node's.
	Clock time.Duration
	// Exchanges that worked, Failures of exchanges, FailedDecisions that Decide had to
	// make here, and Losses of data that were noticed. They only grow.
	Exchanges, Failures, FailedDecisions, Losses uint64
}

// Degraded reports whether limits do not hold across nodes at present.
func (s State) Degraded() bool { return !s.Connected }

// Lag is how old the newest knowledge of other nodes is, 0 if there is none.
func (s State) Lag(now time.Time) time.Duration {
	if s.LastExchange.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.LastExchange))
}

// State returns how it goes.
func (s *Syncer) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// report changes the state, and what follows from it.
func (s *Syncer) report(change func(*State)) {
	s.mu.Lock()
	old := s.state
	change(&s.state)
	now := s.state
	if old.Connected != now.Connected {
		s.healthy.Store(now.Connected)
		s.state.Since = time.Now()
		now = s.state
	}
	changed := old.Connected != now.Connected || old.Nodes != now.Nodes
	if changed {
		s.shareLocked()
	}
	s.mu.Unlock()
	if s.opts.OnChange != nil && (changed || old.Losses != now.Losses) {
		s.opts.OnChange(now)
	}
}

// nodes counts those that live. A count that falls is believed only after a while: when
// Redis has lost its data each node is alone at first.
type nodes struct {
	known   int
	fewer   int // the most there have been since the count fell
	fellAt  time.Time
	falling bool
}

// Nodes are dead that gave no sign for three intervals and livesFor at least, and Redis
// is believed that they are after as long again.
const livesFor = 2 * time.Second

func (n *nodes) observe(count int, now time.Time, hold time.Duration) int {
	count = max(count, 1)
	switch {
	case count >= n.known:
		n.known, n.falling = count, false
	case !n.falling:
		n.falling, n.fellAt, n.fewer = true, now, count
	default:
		n.fewer = max(n.fewer, count)
		if now.Sub(n.fellAt) >= hold {
			n.known, n.falling = n.fewer, false
		}
	}
	return n.known
}
