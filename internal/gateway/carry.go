package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/limiter"
)

// In a take-over the counts of rate limits go along, so that clients do not get
// their quotas anew. The new process asks for them when all is built, right before it
// accepts; what the old one admits after that it tells for as long as it drains, first
// after a few milliseconds, and the new one charges it. The old process does not hear
// what the new one admits. So above a limit can be admitted what the old one
// admits between that question and its end, and no more than the new one has
// admitted by then.
//
// Counts follow the secret with which keys are hashed, which the new process
// takes over. Whoever may use the socket could read both from the old process's
// memory.
const limitsVersion = 1

const (
	// maxLimits bounds the counts of all limits, in bytes.
	maxLimits = 64 << 20
	// limitsTime bounds how long a process gathers them, and how long a process that
	// ends waits for one that does not read.
	limitsTime = 2 * time.Second
	// What is admitted while draining is told after tellFirst, and then ever less
	// often, down to every tellLast.
	tellFirst = 10 * time.Millisecond
	tellLast  = time.Second
)

// follower is the process that has taken over.
type follower struct {
	conn  *net.UnixConn // nil if it wants to hear nothing
	knows bool          // the counts at the monotonic time at
	at    int64
}

// offerTo is what this process gives to another.
func (g *Gateway) offerTo(pid int, hello message, f *follower) offer {
	o := offer{sockets: g.ownSockets(), commit: func() error { return g.commitTo(pid) }}
	if hello.Limits == limitsVersion {
		o.seed = g.living.seed
		o.limits = func() (message, []byte) {
			m, state := g.limitsState(g.living.limiters, (*limiter.Limiter).Save)
			f.knows, f.at = true, m.Mono
			return m, state
		}
	}
	return o
}

// tellTaken tells the process that has taken over what this one admits for
// requests that it still has, until it ends.
func (g *Gateway) tellTaken(f *follower) {
	if f == nil || f.conn == nil {
		return
	}
	defer f.conn.Close()
	timer := time.NewTimer(tellFirst)
	defer timer.Stop()
	for wait, last := tellFirst, false; !last; timer.Reset(wait) {
		select {
		case <-timer.C:
		case <-g.stopped:
			last = true
		}
		wait = min(2*wait, tellLast)
		g.applying.Lock()
		limiters := maps.Clone(g.living.limiters)
		g.applying.Unlock()
		m, state := g.limitsState(limiters, func(l *limiter.Limiter, dst []byte, most int, now limiter.Instant) ([]byte, int) {
			return l.SaveTaken(dst, most, f.at, now)
		})
		if f.at = m.Mono; len(state) == 0 {
			continue
		}
		err := f.conn.SetWriteDeadline(time.Now().Add(limitsTime))
		if err == nil {
			err = sendLimits(f.conn, func() (message, []byte) { return m, state })
		}
		if err != nil {
			g.log.Warn("rate limits: the process that took over does not hear what this one admits", zap.Error(err))
			return
		}
	}
}

// limitsState gathers what save has to say of limiters: for each its name, and that
// of its plan, as lengths and bytes, then the length of its state in 4 bytes and that.
func (g *Gateway) limitsState(limiters map[limitKey]*limiter.Limiter, save func(l *limiter.Limiter, dst []byte, most int, now limiter.Instant) ([]byte, int)) (message, []byte) {
	began := time.Now()
	now := g.proxy.Instant(began)
	m := message{Step: stepLimits, Mono: now.Mono, Wall: now.Wall, Seed: limitSeed(g.running.Load().plan.config, g.living.seed)}
	var state []byte
	left, late := 0, 0
	for _, key := range sortedLimits(limiters) {
		if time.Since(began) > limitsTime {
			late++
			continue
		}
		start := len(state)
		state = appendText(appendText(state, key.limit), key.plan)
		state = append(state, 0, 0, 0, 0)
		body := len(state)
		var n int
		state, n = save(limiters[key], state, maxLimits-body, now)
		left += n
		if len(state) == body || len(state) > maxLimits {
			state = state[:start]
		} else {
			binary.BigEndian.PutUint32(state[body-4:], uint32(len(state)-body))
		}
	}
	if left > 0 || late > 0 {
		g.log.Warn("rate limits: there is too much to hand over, the rest begins anew", zap.Int("keys_left", left), zap.Int("limits_left", late))
	}
	return m, state
}

// sortedLimits are the identities of the limiters whose counts are carried. What
// requests hold ends with them in the process that they are in.
func sortedLimits(limiters map[limitKey]*limiter.Limiter) []limitKey {
	keys := make([]limitKey, 0, len(limiters))
	for key := range limiters {
		if !key.held {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b limitKey) int {
		if n := strings.Compare(a.limit, b.limit); n != 0 {
			return n
		}
		return strings.Compare(a.plan, b.plan)
	})
	return keys
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// sendLimits sends counts.
func sendLimits(conn *net.UnixConn, limits func() (message, []byte)) error {
	m, state := limits()
	m.Bytes = len(state)
	if err := send(conn, m); err != nil {
		return err
	}
	_, err := conn.Write(state)
	return err
}

// receiveLimits reads counts. All of them have been read if the error is errTooLarge.
func receiveLimits(conn *net.UnixConn) (message, []byte, error) {
	m, err := receive(conn, stepLimits)
	if err != nil {
		return m, nil, err
	}
	if m.Bytes < 0 || m.Bytes > maxLimits {
		if _, err = io.CopyN(io.Discard, conn, int64(m.Bytes)); err == nil {
			err = errTooLarge
		}
		return m, nil, err
	}
	var state bytes.Buffer // grows with what comes, whatever was announced
	_, err = io.CopyN(&state, conn, int64(m.Bytes))
	return m, state.Bytes(), err
}

var errTooLarge = errors.New("there is more of it than this process takes")

// askForLimits gets the counts of the process before this one, if that has any
// and this one has limits. Without them, the take-over goes on.
func (g *Gateway) askForLimits() {
	g.applying.Lock()
	defer g.applying.Unlock()
	t := g.takeover
	if t == nil || !t.limits || len(g.living.limiters) == 0 {
		return
	}
	asked := g.proxy.Instant(time.Now())
	err := send(t.conn, message{Step: stepLimits})
	var m message
	var state []byte
	if err == nil {
		m, state, err = receiveLimits(t.conn)
	}
	if err == nil {
		t.asked, t.clock = true, clockAhead(m, asked, g.proxy.Instant(time.Now()))
		err = g.restoreLimits(m, state, t.clock, true)
	}
	if err != nil {
		g.log.Warn("take over: rate limits begin anew", zap.Error(err))
	}
}

// clockAhead is what this process's monotonic clock is ahead of one at which
// counts were right at m.Mono, if they were asked for and came at these moments. Wall
// clocks tell how old they are; if what they tell cannot be, because one was set
// meanwhile, they count as new, so that nothing comes back too early.
func clockAhead(m message, asked, came limiter.Instant) int64 {
	age := came.Wall - m.Wall
	if age < 0 || age > came.Mono-asked.Mono {
		age = 0
	}
	return came.Mono - age - m.Mono
}

// followLimits charges what the process before this one still admits, until it
// ends.
func (g *Gateway) followLimits(t *takeover) {
	ended := make(chan struct{})
	g.loops.Go(func() {
		defer t.conn.Close()
		select {
		case <-g.stopped:
		case <-ended:
		}
	})
	g.loops.Go(func() {
		defer close(ended)
		err := t.conn.SetDeadline(time.Time{})
		for err == nil {
			var m message
			var state []byte
			if m, state, err = receiveLimits(t.conn); err == nil {
				g.applying.Lock()
				err = g.restoreLimits(m, state, t.clock, false)
				g.applying.Unlock()
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			g.log.Warn("rate limits: what the process before still admits is not counted", zap.Error(err))
		}
	})
}

// restoreLimits gives counts to the limiters that they are of.
func (g *Gateway) restoreLimits(m message, state []byte, ahead int64, first bool) error {
	if m.Seed != limitSeed(g.running.Load().plan.config, g.living.seed) {
		return errors.New("their keys are hashed with another secret")
	}
	began := time.Now()
	keys, problems := 0, []error(nil)
	r := bytes.NewBuffer(state)
	for r.Len() > 0 {
		key := limitKey{limit: readText(r), plan: readText(r)}
		size := r.Next(4)
		if len(size) < 4 || r.Len() < int(binary.BigEndian.Uint32(size)) {
			problems = append(problems, errors.New("they are cut short"))
			break
		}
		body := r.Next(int(binary.BigEndian.Uint32(size)))
		l := g.living.limiters[key]
		if l == nil {
			continue
		}
		n, err := l.Restore(body, m.Mono+ahead, g.proxy.Instant(time.Now()))
		if keys += n; err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key.limit, err))
		}
	}
	if first {
		g.log.Info("rate limits taken over", zap.Int("keys", keys), zap.Int("bytes", len(state)), zap.Duration("took", time.Since(began)))
	}
	return errors.Join(problems...)
}

// readText reads what appendText wrote, and as much as there is if it is cut.
func readText(r *bytes.Buffer) string {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return ""
	}
	return string(r.Next(int(min(n, uint64(r.Len())))))
}
