package limiter

import (
	"testing"
	"time"
)

// TestCalendar looks at windows around changes of clocks, leap days and the ends of years.
func TestCalendar(t *testing.T) {
	f := func(p Period, zone, at, start, end string) {
		t.Helper()
		l := mustLocation(zone)
		parse := func(s string) int64 {
			v, err := time.Parse(time.RFC3339, s)
			if err != nil {
				t.Fatal(err)
			}
			return v.UnixNano()
		}
		c := newCalendar(p, l)
		if s := c.at(parse(at)); s.start != parse(start) || s.end != parse(end) {
			t.Errorf("%s of %s in %s: %v to %v, want %s to %s", p, at, zone, time.Unix(0, s.start).In(l), time.Unix(0, s.end).In(l), start, end)
		}
	}
	f(Day, "UTC", "2024-02-29T23:59:59.999999999Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z")
	f(Day, "UTC", "2024-03-01T00:00:00Z", "2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z")
	f(Month, "UTC", "2024-02-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z")
	f(Month, "UTC", "2024-01-31T12:00:00Z", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z")
	f(Month, "UTC", "2023-12-31T23:59:59Z", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z")
	f(Day, "Europe/Berlin", "2024-03-31T12:00:00Z", "2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00") // 23 h
	f(Day, "Europe/Berlin", "2024-10-27T12:00:00Z", "2024-10-27T00:00:00+02:00", "2024-10-28T00:00:00+01:00") // 25 h
	f(Month, "Europe/Berlin", "2024-03-31T22:30:00Z", "2024-04-01T00:00:00+02:00", "2024-05-01T00:00:00+02:00")
	f(Day, "America/Havana", "2024-03-10T12:00:00Z", "2024-03-10T01:00:00-04:00", "2024-03-11T00:00:00-04:00") // no midnight
	f(Day, "America/Havana", "2024-11-03T12:00:00Z", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00")
	f(Day, "Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00") // the 30th did not exist
}

// TestCalendarHasNoGaps walks through years by odd steps: each moment lies in its window,
// which begins where the one before ended.
func TestCalendarHasNoGaps(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe"} {
		for _, p := range []Period{Day, Month} {
			c := newCalendar(p, mustLocation(zone))
			at := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
			last := c.at(at)
			for end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(); at < end; at += int64(7*time.Hour + 13*time.Minute) {
				s := c.at(at)
				if at < s.start || at >= s.end || s != last && s.start != last.end {
					t.Fatalf("%s, %s: %d in %+v after %+v", zone, p, at, s, last)
				}
				last = s
			}
		}
	}
}

// TestWallClockSteps sets the clock back and forth over the end of a day: no quota is
// opened twice, and a step forward opens one window once.
func TestWallClockSteps(t *testing.T) {
	for where, key := range keys {
		l := build(t, Options{Shards: 2}, Rule{Algorithm: FixedWindow, Limit: 5, Period: Day})
		midnight := time.Date(2024, 6, 2, 0, 0, 0, 0, time.UTC).UnixNano()
		admitted := 0
		mono := start.Mono
		for _, wall := range []int64{-2, -1, 0, 1, -1, 0, -3, 2, -1, 1} {
			for range 10 {
				mono++
				if ask(l, key, 1, Instant{Mono: mono, Wall: midnight + wall*int64(time.Hour)}).Allowed {
					admitted++
				}
			}
		}
		if admitted != 10 {
			t.Errorf("%s: %d admitted in two days, want 10", where, admitted)
		}
	}
}
