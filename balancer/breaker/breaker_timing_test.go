package breaker

import (
	"testing"
	"time"
)

func BenchmarkAllow(b *testing.B) {
	closed := New(Settings{ErrorRatio: 50}, nil)
	open := New(Settings{ErrorRatio: 50}, nil)
	open.Trip(0, time.Hour)
	ramping := New(Settings{Ramp: time.Hour}, nil)
	ramping.Trip(0, 1)
	p, _ := ramping.Allow(1)
	ramping.Record(1, p, Success, 0)
	probing := New(Settings{ProbeTimeout: time.Hour}, nil)
	probing.Trip(0, 1)
	probing.Allow(1)
	for _, test := range []struct {
		name    string
		breaker *Breaker
	}{{"closed", closed}, {"open", open}, {"probing", probing}, {"ramping", ramping}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				test.breaker.Allow(2)
			}
		})
		b.Run(test.name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					test.breaker.Allow(2)
				}
			})
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	for _, test := range []struct {
		name    string
		outcome Outcome
		latency time.Duration
	}{{"success", Success, 0}, {"failure", Failure, 0}, {"slow", Success, time.Minute}, {"ignored", Ignored, 0}} {
		// The conditions are looked at and never met.
		settings := Settings{ErrorRatio: 100, LatencyLimit: time.Second, LatencyQuantile: 0.001, MinRequests: 100}
		breaker := New(settings, nil)
		permit, _ := breaker.Allow(0)
		for range 1000 {
			breaker.Record(0, permit, Success, 0)
		}
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			now := int64(0)
			for b.Loop() {
				now += 1000
				breaker.Record(now, permit, test.outcome, test.latency)
				if test.outcome == Failure || test.latency > 0 {
					breaker.live.Load().window.total.add(breaker.live.Load().window.number(now))
				}
			}
			if breaker.State(now) != Closed {
				b.Fatal("the breaker opened: ", breaker.Status(now).Cause)
			}
		})
		b.Run(test.name+"/parallel", func(b *testing.B) {
			if test.outcome != Success || test.latency > 0 {
				b.Skip("the conditions would be met")
			}
			b.RunParallel(func(pb *testing.PB) {
				for now := int64(0); pb.Next(); now += 1000 {
					breaker.Record(now, permit, test.outcome, test.latency)
				}
			})
		})
	}
}

func BenchmarkLimit(b *testing.B) {
	b.Run("admitted", func(b *testing.B) {
		l := NewLimit(LimitSettings{})
		b.ReportAllocs()
		for now := int64(0); b.Loop(); now += 10_000 {
			if l.Acquire() {
				l.Release(now, time.Millisecond, Success)
			}
		}
	})
	b.Run("admitted/parallel", func(b *testing.B) {
		l := NewLimit(LimitSettings{})
		b.RunParallel(func(pb *testing.PB) {
			for now := int64(0); pb.Next(); now += 10_000 {
				if l.Acquire() {
					l.Release(now, time.Millisecond, Success)
				}
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		l := NewLimit(LimitSettings{Min: 1, Max: 1})
		l.Acquire()
		b.ReportAllocs()
		for b.Loop() {
			l.Acquire()
		}
	})
}
