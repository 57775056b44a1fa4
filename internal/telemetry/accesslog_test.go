package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
)

// memory is a WriteSyncer that keeps what it gets.
type memory struct {
	mu     sync.Mutex
	data   bytes.Buffer
	writes int
	sync   error
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	return m.data.Write(p)
}

func (m *memory) Sync() error { return m.sync }

func (m *memory) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Split(strings.TrimSuffix(m.data.String(), "\n"), "\n")
}

func (m *memory) writeCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.Len()
}

func closeLog(t *testing.T, l *AccessLog) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Fatalf("close log: %v", err)
	}
}

func TestAccessLogFilters(t *testing.T) {
	f := func(opts AccessLogOptions, e Event, want bool) {
		t.Helper()
		var out memory
		opts.Writer, opts.Buffer = &out, 2
		l := NewAccessLog(opts)
		l.Record(&e)
		closeLog(t, l)
		if got := out.size() > 0; got != want {
			t.Errorf("%+v logs status %d after %v: %v, want %v", opts, e.Status, e.Duration, got, want)
		}
	}
	const rare = 1e-18 // no random number is that small in practice
	f(AccessLogOptions{}, Event{Status: 200}, true)
	f(AccessLogOptions{Sample: 1}, Event{Status: 200}, true)
	f(AccessLogOptions{Sample: rare}, Event{Status: 200}, false)
	f(AccessLogOptions{Sample: rare}, Event{Status: 500}, false)
	f(AccessLogOptions{Sample: rare, AlwaysLogErrors: true}, Event{Status: 499}, false)
	f(AccessLogOptions{Sample: rare, AlwaysLogErrors: true}, Event{Status: 500}, true)
	f(AccessLogOptions{Sample: rare, AlwaysLogErrors: true}, Event{Status: 0}, true)
	f(AccessLogOptions{MinStatus: 400}, Event{Status: 399}, false)
	f(AccessLogOptions{MinStatus: 400}, Event{Status: 400}, true)
	f(AccessLogOptions{MinStatus: 400}, Event{Status: 0}, true)
	f(AccessLogOptions{MinStatus: 500}, Event{Status: 0}, false)
	f(AccessLogOptions{MinDuration: time.Second}, Event{Status: 200, Duration: time.Second - 1}, false)
	f(AccessLogOptions{MinDuration: time.Second}, Event{Status: 200, Duration: time.Second}, true)
	f(AccessLogOptions{MinDuration: time.Second, AlwaysLogErrors: true}, Event{Status: 502}, true)
	f(AccessLogOptions{MinDuration: time.Second, MinStatus: 400}, Event{Status: 404}, false)
}

func TestSampleShare(t *testing.T) {
	const n = 10_000
	l := &AccessLog{threshold: sampleThreshold(0.25)}
	logged := 0
	for range n {
		if l.wanted(&Event{Status: 200}) {
			logged++
		}
	}
	// Seven standard deviations around the mean.
	if logged < n/4-300 || logged > n/4+300 {
		t.Errorf("%d of %d requests are sampled, want about a quarter", logged, n)
	}
}

// TestAccessLogLosesNothingUncounted has many producers and a writer that is
// slower than they are.
func TestAccessLogLosesNothingUncounted(t *testing.T) {
	const workers, each = 8, 2000
	var out slowWriter
	var counts AccessLogMetrics
	l := NewAccessLog(AccessLogOptions{Writer: &out, Buffer: 64, Metrics: &counts})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			id := []byte(nil)
			for i := range each {
				id = strconv.AppendInt(id[:0], int64(w*each+i), 10)
				l.Record(&Event{RequestID: id, Status: 200})
			}
		})
	}
	wg.Wait()
	closeLog(t, l)
	if counts.Written()+counts.Dropped() != workers*each || counts.Dropped() == 0 {
		t.Errorf("written %d + dropped %d, recorded %d; some must be dropped", counts.Written(), counts.Dropped(), workers*each)
	}
	lines := out.lines()
	if uint64(len(lines)) != counts.Written() {
		t.Errorf("%d lines arrived, %d were counted", len(lines), counts.Written())
	}
	seen := map[string]bool{}
	for _, text := range lines {
		var fields struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatalf("parse line %q: %v", text, err)
		}
		if fields.RequestID == "" || seen[fields.RequestID] {
			t.Fatalf("request %q arrived twice or without a name", fields.RequestID)
		}
		seen[fields.RequestID] = true
	}
}

type slowWriter struct{ memory }

func (w *slowWriter) Write(p []byte) (int, error) {
	for range 1000 {
		runtime.Gosched()
	}
	return w.memory.Write(p)
}

// TestCloseDuringRecord races Close against producers: what Record took before
// is written, what came after is counted as dropped.
func TestCloseDuringRecord(t *testing.T) {
	for range 50 {
		const workers, each = 4, 100
		var out memory
		var counts AccessLogMetrics
		l := NewAccessLog(AccessLogOptions{Writer: &out, Metrics: &counts})
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				<-start
				for range each {
					l.Record(&Event{Status: 200})
				}
			})
		}
		wg.Go(func() {
			<-start
			closeLog(t, l)
		})
		close(start)
		wg.Wait()
		if counts.Written()+counts.Dropped() != workers*each {
			t.Fatalf("written %d + dropped %d, recorded %d", counts.Written(), counts.Dropped(), workers*each)
		}
		if n := uint64(bytes.Count(out.data.Bytes(), []byte("\n"))); n != counts.Written() {
			t.Fatalf("%d lines arrived, %d were counted", n, counts.Written())
		}
	}
}

// TestFullBufferNeverBlocks has a writer that does not return.
func TestFullBufferNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
		var counts AccessLogMetrics
		l := NewAccessLog(AccessLogOptions{Writer: out, Buffer: 8, Metrics: &counts})
		l.Record(&Event{Status: 200})
		<-out.entered
		for range 100 {
			l.Record(&Event{Status: 200})
		}
		if counts.Dropped() != 92 {
			t.Errorf("%d lines dropped, want 92: 8 have room", counts.Dropped())
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close with a stuck writer returned %v", err)
		}
		close(out.open)
		closeLog(t, l)
		if counts.Written() != 9 {
			t.Errorf("%d lines written, want 9", counts.Written())
		}
	})
}

// gate is a writer that waits until it is opened.
type gate struct {
	memory
	entered, open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	return g.memory.Write(p)
}

func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out memory
		l := NewAccessLog(AccessLogOptions{Writer: &out, FlushInterval: 200 * time.Millisecond})
		for round := 1; round <= 3; round++ {
			time.Sleep(time.Hour) // synctest's clock
			l.Record(&Event{Status: 200})
			time.Sleep(199 * time.Millisecond)
			l.Record(&Event{Status: 200})
			synctest.Wait()
			if out.writeCount() != round-1 {
				t.Fatalf("round %d: %d writes before the interval ended", round, out.writeCount())
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if out.writeCount() != round {
				t.Fatalf("round %d: %d writes after the interval", round, out.writeCount())
			}
		}
		closeLog(t, l)
		if n := len(out.lines()); n != 6 {
			t.Errorf("%d lines, want 6", n)
		}
	})
}

func TestHalfFullIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out memory
		l := NewAccessLog(AccessLogOptions{Writer: &out, Buffer: 16, FlushInterval: time.Hour})
		for range 5 {
			l.Record(&Event{Status: 200})
			synctest.Wait() // asleep again, or waiting for more
			for range 7 {
				l.Record(&Event{Status: 200})
			}
			before := time.Now()
			synctest.Wait()
			if time.Since(before) != 0 || len(out.lines())%8 != 0 {
				t.Fatalf("%d lines written when half full", len(out.lines()))
			}
		}
		closeLog(t, l)
		if n := len(out.lines()); n != 40 {
			t.Errorf("%d lines, want 40", n)
		}
	})
}

func TestWritesAreBatches(t *testing.T) {
	const lines = 2000
	out := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	l := NewAccessLog(AccessLogOptions{Writer: out, Buffer: lines})
	for range lines {
		l.Record(&Event{Status: 200, Path: bytes.Repeat([]byte("a"), 200)})
	}
	close(out.open)
	closeLog(t, l)
	least := out.data.Len() / batchSize
	if out.writes > 2*least+2 {
		t.Errorf("%d writes for %d bytes, want about %d", out.writes, out.data.Len(), least)
	}
}

// TestFailingWriter checks that errors are counted, are not the end, and leave no
// line that continues a torn one.
func TestFailingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &tearing{tear: 2}
		var counts AccessLogMetrics
		l := NewAccessLog(AccessLogOptions{Writer: out, Metrics: &counts})
		for range 4 {
			l.Record(&Event{Status: 200})
			time.Sleep(time.Second) // synctest's clock: one batch each
		}
		closeLog(t, l)
		if counts.Written() != 3 || counts.Dropped() != 1 || counts.Errors() != 1 {
			t.Errorf("written %d, dropped %d, errors %d; want 3, 1, 1", counts.Written(), counts.Dropped(), counts.Errors())
		}
		lines := out.lines()
		for i, text := range lines {
			if json.Valid([]byte(text)) == (i == 1) {
				t.Errorf("line %d of %d is %q; only the second is torn", i+1, len(lines), text)
			}
		}
		if len(lines) != 4 {
			t.Errorf("%d lines, want 4", len(lines))
		}
	})
}

// tearing fails in the middle of one write, counted from 1.
type tearing struct {
	memory
	tear int
}

func (w *tearing) Write(p []byte) (int, error) {
	if w.tear--; w.tear == 0 {
		n, _ := w.memory.Write(p[:10])
		return n, errors.New("no space")
	}
	return w.memory.Write(p)
}

func TestRecordAfterClose(t *testing.T) {
	var out memory
	var counts AccessLogMetrics
	l := NewAccessLog(AccessLogOptions{Writer: &out, Metrics: &counts})
	closeLog(t, l)
	l.Record(&Event{Status: 200})
	closeLog(t, l)
	if counts.Dropped() != 1 || out.size() != 0 {
		t.Errorf("dropped %d, %d bytes written after close", counts.Dropped(), out.size())
	}
}

func TestCloseReportsSync(t *testing.T) {
	f := func(sync error, want bool) {
		t.Helper()
		l := NewAccessLog(AccessLogOptions{Writer: &memory{sync: sync}})
		if err := l.Close(context.Background()); (err != nil) != want {
			t.Errorf("sync error %v: close returned %v", sync, err)
		}
	}
	f(nil, false)
	f(errors.New("disk gone"), true)
	f(fmt.Errorf("sync /dev/stdout: %w", syscall.EINVAL), false)
}

// TestPanickingFields checks that a panic in foreign code does not stop the log.
func TestPanickingFields(t *testing.T) {
	var out memory
	var counts AccessLogMetrics
	l := NewAccessLog(AccessLogOptions{Writer: &out, Buffer: 2, Metrics: &counts, RequestHeaders: []string{"X"}})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		l.Record(&Event{Status: 500, RequestHeaders: panicking{}})
	}()
	l.Record(&Event{Status: 200})
	closeLog(t, l)
	if counts.Written() != 1 || counts.Dropped() != 1 {
		t.Errorf("written %d, dropped %d; want 1 and 1", counts.Written(), counts.Dropped())
	}
}

type panicking struct{}

func (panicking) Header(string) ([]byte, bool) { panic("boom") }

var _ zapcore.WriteSyncer = (*memory)(nil)
