package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	defaultBuffer        = 4096
	defaultFlushInterval = 100 * time.Millisecond
	// batchSize is how much is gathered for one write.
	batchSize = 64 << 10
)

// AccessLogOptions configures an access log. Only Writer is required; the zero
// value of everything else logs every request, without query strings and
// headers.
type AccessLogOptions struct {
	// Writer receives whole lines, many per Write, from one goroutine.
	Writer zapcore.WriteSyncer

	// Sample is the share of requests to log, above 0 and up to 1; 0 means
	// all.
	Sample float64
	// MinStatus leaves out answers with a lower status; 0 means none. A
	// request without an answer (status 0) counts as 499.
	MinStatus int
	// MinDuration leaves out faster requests; 0 means none.
	MinDuration time.Duration
	// AlwaysLogErrors logs answers of status 500 and above and requests
	// without an answer, whatever the three filters above say.
	AlwaysLogErrors bool

	// RequestHeaders and ResponseHeaders name headers to log, each under
	// its lower-case name. Values of well-known secrets (Authorization,
	// Cookie, X-Api-Key, …) and of the headers in Redact are replaced.
	RequestHeaders, ResponseHeaders []string
	// Redact names further headers and query parameters whose values are
	// secrets.
	Redact []string
	// Query logs the query string, with the values of parameters that look
	// like secrets replaced. Without it, queries appear nowhere: not in
	// the path and not in the referer.
	Query bool

	// Buffer is how many lines may wait to be written, rounded up to a
	// power of two; 0 means 4096. A line takes 1 KiB when first used, more
	// if it is longer, at most 8 KiB. When the buffer is full, lines are
	// dropped and counted.
	Buffer int
	// FlushInterval bounds how long a line waits; 0 means 100 ms.
	FlushInterval time.Duration

	// Metrics counts the lines; nil means nobody wants to know.
	Metrics *AccessLogMetrics
}

// AccessLog writes one JSON object a line for every finished request that passes
// its filters. Record never waits: lines go through a bounded ring to one
// goroutine that writes them in batches. The fields are in docs/observability.md.
type AccessLog struct {
	enc       *encoder
	metrics   *AccessLogMetrics
	threshold uint64 // a random number at or above it is not sampled
	options   AccessLogOptions
	ring      *ring

	// The writing goroutine sleeps on wake while state is logIdle; the
	// producer that changes the state sends.
	state atomic.Uint32
	wake  chan struct{} // idle → gathering
	press chan struct{} // gathering → pressing: half full, do not wait

	closing   chan struct{}
	closeOnce sync.Once
	stopped   chan struct{}
}

// States of the writing goroutine.
const (
	logIdle      = iota // asleep until a line comes
	logGathering        // a line is there; waiting for more, or for the interval
	logPressing         // half full: told to write now
)

// NewAccessLog starts an access log. Close it when no more requests come.
func NewAccessLog(opts AccessLogOptions) *AccessLog {
	if opts.Buffer <= 0 {
		opts.Buffer = defaultBuffer
	}
	if opts.FlushInterval <= 0 {
		opts.FlushInterval = defaultFlushInterval
	}
	if opts.Metrics == nil {
		opts.Metrics = &AccessLogMetrics{}
	}
	l := &AccessLog{
		enc:       newEncoder(&opts),
		metrics:   opts.Metrics,
		threshold: sampleThreshold(opts.Sample),
		options:   opts,
		ring:      newRing(opts.Buffer),
		wake:      make(chan struct{}, 1),
		press:     make(chan struct{}, 1),
		closing:   make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	go l.run()
	return l
}

func sampleThreshold(share float64) uint64 {
	if share <= 0 || share >= 1 {
		return math.MaxUint64
	}
	return uint64(share * math.MaxUint64)
}

// Record logs e if it passes the filters. When the buffer is full or the log is
// closed, the line is dropped and counted.
func (l *AccessLog) Record(e *Event) {
	if !l.wanted(e) {
		return
	}
	slot, pos := l.ring.claim()
	if slot == nil {
		l.metrics.dropped.Add(1)
		return
	}
	l.fill(slot, pos, e)
	l.signal(pos)
}

func (l *AccessLog) wanted(e *Event) bool {
	o := &l.options
	status := e.Status
	if status == 0 {
		status = 499
	}
	if o.AlwaysLogErrors && (status >= 500 || e.Status == 0) {
		return true
	}
	if status < o.MinStatus || e.Duration < o.MinDuration {
		return false
	}
	return l.threshold == math.MaxUint64 || rand.Uint64() < l.threshold
}

// fill writes e into the slot and publishes it even if a Fields panics: an
// unpublished slot would stop the log for good.
func (l *AccessLog) fill(s *slot, pos uint64, e *Event) {
	defer s.publish(pos)
	s.line = l.enc.appendEvent(s.line, e)
}

// signal tells the writing goroutine what it waits for, if it waits.
func (l *AccessLog) signal(pos uint64) {
	switch l.state.Load() {
	case logIdle:
		if l.state.CompareAndSwap(logIdle, logGathering) {
			l.wake <- struct{}{} // room for one, and each transition is received before the next
		}
	case logGathering:
		if l.ring.halfFull(pos) && l.state.CompareAndSwap(logGathering, logPressing) {
			select {
			case l.press <- struct{}{}:
			default: // one left over from an earlier time has the same effect
			}
		}
	}
}

// Close refuses further lines, writes those that are waiting, syncs the writer
// and returns its error. It may be called more than once, and gives up waiting
// when ctx ends: the lines are then still written if the writer ever returns.
func (l *AccessLog) Close(ctx context.Context) error {
	l.closeOnce.Do(func() {
		l.ring.close()
		close(l.closing)
	})
	select {
	case <-l.stopped:
	case <-ctx.Done():
		return fmt.Errorf("close access log: %w", ctx.Err())
	}
	err := l.options.Writer.Sync()
	// Terminals and pipes cannot be synced, and need not be.
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTTY) {
		return fmt.Errorf("sync access log: %w", err)
	}
	return nil
}

// run is the writing goroutine.
func (l *AccessLog) run() {
	defer close(l.stopped)
	out := batch{w: l.options.Writer, metrics: l.metrics, buf: make([]byte, 0, batchSize)}
	timer := time.NewTimer(l.options.FlushInterval)
	defer timer.Stop()
	for {
		select {
		case <-l.wake:
		case <-l.closing:
			l.finish(&out)
			return
		}
		for busy := true; busy; busy = l.rest() {
			timer.Reset(l.options.FlushInterval)
			select {
			case <-l.press:
			case <-timer.C:
			case <-l.closing:
				l.finish(&out)
				return
			}
			l.drain(&out)
		}
	}
}

// drain writes every line that is published.
func (l *AccessLog) drain(out *batch) {
	for {
		buf, ok := l.ring.appendNext(out.buf)
		if !ok {
			out.flush()
			return
		}
		out.add(buf)
	}
}

// rest lets the goroutine sleep, unless a line came after drain had looked: its
// producer may have seen logGathering still, and have sent nothing.
func (l *AccessLog) rest() (busy bool) {
	l.state.Store(logIdle)
	return l.ring.ready() && l.state.CompareAndSwap(logIdle, logGathering)
}

// finish writes everything up to the last line that was claimed before Close.
func (l *AccessLog) finish(out *batch) {
	for l.ring.settle() {
		l.drain(out)
	}
}

// batch gathers lines for one write.
type batch struct {
	w       io.Writer
	metrics *AccessLogMetrics
	buf     []byte
	lines   uint64
}

// add takes over buf, which is b.buf with one more line.
func (b *batch) add(buf []byte) {
	if len(buf) == len(b.buf) {
		b.metrics.dropped.Add(1) // its producer panicked
		return
	}
	b.buf = buf
	b.lines++
	if len(b.buf) > batchSize-maxLine {
		b.flush()
	}
}

// flush writes what was gathered. All lines of a failing write count as dropped,
// even if some of them arrived.
func (b *batch) flush() {
	if b.lines == 0 {
		return
	}
	n, err := b.w.Write(b.buf)
	if err == nil && n < len(b.buf) {
		err = io.ErrShortWrite
	}
	if err == nil {
		b.metrics.written.Add(b.lines)
	} else {
		b.metrics.errors.Add(1)
		b.metrics.dropped.Add(b.lines)
	}
	torn := err != nil && n > 0 && n < len(b.buf) && b.buf[n-1] != '\n'
	b.buf, b.lines = b.buf[:0], 0
	if torn {
		b.buf = append(b.buf, '\n') // the next line does not continue the torn one
	}
}
