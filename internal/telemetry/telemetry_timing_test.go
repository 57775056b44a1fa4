package telemetry

import (
	"context"
	"io"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// usualEvent is a request as most are.
func usualEvent() *Event {
	e := fullEvent()
	e.Status, e.Attempts, e.Reason, e.Source = 200, 1, "", SourceUpstream
	e.Query, e.Referer = nil, nil
	e.UserAgent = []byte("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	return e
}

func BenchmarkRouteRecord(b *testing.B) {
	m := NewRegistry("bench").Route("a")
	e := usualEvent()
	b.ReportAllocs()
	for b.Loop() {
		m.Begin(e.Shard)
		m.Record(e)
	}
}

func BenchmarkRouteRecordParallel(b *testing.B) {
	m := NewRegistry("bench").Route("a")
	var connection atomic.Uint32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := usualEvent()
		e.Shard = connection.Add(1)
		for pb.Next() {
			m.Begin(e.Shard)
			m.Record(e)
		}
	})
}

func BenchmarkEndpointAttempt(b *testing.B) {
	m := NewRegistry("bench").Endpoint("u", "e")
	b.ReportAllocs()
	for b.Loop() {
		m.Begin(1)
		m.Connected(1, true)
		m.Answered(1, 200, time.Millisecond)
		m.End(1)
	}
}

func BenchmarkEncode(b *testing.B) {
	enc := newEncoder(&AccessLogOptions{})
	e := usualEvent()
	buf := enc.appendEvent(nil, e)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = enc.appendEvent(buf[:0], e)
	}
}

// BenchmarkAccessLogLine is everything that a line costs, on both sides of the
// ring, but for the write itself.
func BenchmarkAccessLogLine(b *testing.B) {
	enc, ring := newEncoder(&AccessLogOptions{}), newRing(defaultBuffer)
	e := usualEvent()
	batch := make([]byte, 0, batchSize)
	b.ReportAllocs()
	for b.Loop() {
		slot, pos := ring.claim()
		slot.line = enc.appendEvent(slot.line, e)
		slot.publish(pos)
		batch, _ = ring.appendNext(batch[:0])
	}
}

// BenchmarkAccessLogRecord is Record as requests see it, with the writing
// goroutine at work: the buffer is emptied, off the clock, before it is half full.
func BenchmarkAccessLogRecord(b *testing.B) {
	var counts AccessLogMetrics
	l := NewAccessLog(AccessLogOptions{Writer: zapcore.AddSync(io.Discard), Metrics: &counts, FlushInterval: time.Millisecond})
	e := usualEvent()
	recorded := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		l.Record(e)
		if recorded++; recorded%(defaultBuffer/4) == 0 {
			b.StopTimer()
			for counts.Written() < recorded {
				runtime.Gosched()
			}
			b.StartTimer()
		}
	}
	b.StopTimer()
	if counts.Dropped() > 0 {
		b.Fatalf("%d lines were dropped: the figure is not that of a line", counts.Dropped())
	}
	if err := l.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkScrape writes the page of a large gateway, every route of which has
// been used by every shard.
func BenchmarkScrape(b *testing.B) {
	r := NewRegistry("bench")
	for i := range 5000 {
		e := usualEvent()
		m := r.Route("route-" + strconv.Itoa(i))
		for e.Shard = range uint32(maxShards) {
			m.Record(e)
		}
	}
	var size countingWriter
	r.WritePrometheus(&size)
	b.ReportAllocs()
	for b.Loop() {
		r.WritePrometheus(io.Discard)
	}
	b.ReportMetric(float64(size)/1e6, "MB/page")
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}
