package config

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	f := func(text string, want Size) {
		t.Helper()
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
		if again, err := parseSize(got.String()); err != nil || again != want {
			t.Errorf("%s: written as %s", text, got)
		}
	}
	f("0", 0)
	f("16384", 16384)
	f("16384B", 16384)
	f("8KiB", 8<<10)
	f("8MiB", 8<<20)
	f("2GiB", 2<<30)
	f("5kB", 5000)
	f("1MB", 1_000_000)
	f("3GB", 3_000_000_000)
	for _, bad := range []string{"", "MiB", "8 MiB", "8mib", "-1", "1.5MiB", "8MiBB", "9223372036854775807KiB"} {
		if got, err := parseSize(bad); err == nil {
			t.Errorf("%q is %d", bad, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		got, err := parseDuration(text)
		if err != nil || got != Duration(want) {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	f("0", 0)
	f("0s", 0)
	f("30s", 30*time.Second)
	f("1m30s", 90*time.Second)
	f("250ms", 250*time.Millisecond)
	for _, bad := range []string{"", "30", "1.5", "-1s", "soon", "1d"} {
		if got, err := parseDuration(bad); err == nil {
			t.Errorf("%q is %s", bad, got)
		}
	}
}

func TestNearest(t *testing.T) {
	f := func(name, want string, candidates ...string) {
		t.Helper()
		if got := nearest(name, candidates); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	f("tiemout", "timeout", "targets", "timeout")
	f("Timeout", "timeout", "timeout")
	f("hots", "hosts", "host_x", "hosts", "path")
	f("xyz", "", "timeout", "path")
	f("", "", "timeout")
}

func TestStatusRange(t *testing.T) {
	r, err := parseStatusRange("200-399")
	if err != nil || !r.Contains(200) || !r.Contains(399) || r.Contains(400) || r.String() != "200-399" {
		t.Errorf("%v, %v", r, err)
	}
	if r, err = parseStatusRange("204"); err != nil || r.String() != "204" || r.Contains(205) {
		t.Errorf("%v, %v", r, err)
	}
}
