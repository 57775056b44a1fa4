package discovery

import (
	"slices"
	"testing"
)

func TestAddress(t *testing.T) {
	f := func(host string, port int, want string) {
		t.Helper()
		got, err := Address(host, port)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Address(%q, %d) = %q, %v, want %q", host, port, got, err, want)
		}
	}
	f("10.0.0.1", 80, "10.0.0.1:80")
	f("::ffff:10.0.0.1", 80, "10.0.0.1:80")
	f("2001:DB8:0:0::1", 443, "[2001:db8::1]:443")
	f("fe80::1%eth0", 443, "[fe80::1%eth0]:443")
	f("Users.Example.com.", 8080, "users.example.com:8080")
	f("_srv_1.local", 1, "_srv_1.local:1")
	f("10.0.0.1", 0, "")
	f("10.0.0.1", 65536, "")
	f("0.0.0.0", 80, "")
	f("::", 80, "")
	f("224.0.0.1", 80, "")
	f("", 80, "")
	f("a..b", 80, "")
	f("a b", 80, "")
	f("a/b", 80, "")
}

func TestSplitAddress(t *testing.T) {
	f := func(address string, fallback int, host string, port int) {
		t.Helper()
		h, p, err := SplitAddress(address, fallback)
		if h != host || p != port || (err == nil) != (host != "") {
			t.Errorf("SplitAddress(%q, %d) = %q, %d, %v, want %q, %d", address, fallback, h, p, err, host, port)
		}
	}
	f("10.0.0.1:80", 0, "10.0.0.1", 80)
	f("[::1]:80", 0, "::1", 80)
	f("[::1]", 443, "::1", 443)
	f("::1", 443, "::1", 443)
	f("users", 443, "users", 443)
	f("users", 0, "", 0)
	f("users:http", 0, "", 0)
	f("users:70000", 0, "", 0)
	f("a b", 443, "", 0)
}

func TestNormalize(t *testing.T) {
	got, dropped := normalize([]Target{
		{Address: "10.0.0.2:80", Weight: -1},
		{Address: "::1"},
		{Address: "10.0.0.1:80", Weight: 1, Priority: 1},
		{Address: "10.0.0.1:80", Weight: 5},
		{Address: "[::ffff:10.0.0.1]:80", Weight: 7},
		{Address: "10.0.0.1:80", Weight: 9, Draining: true},
		{Address: "10.0.0.4:80"},
		{Address: "10.0.0.3:80"},
		{Address: "10.0.0.3:0"},
	}, 3)
	want := []Target{{Address: "10.0.0.1:80", Weight: 7}, {Address: "10.0.0.2:80"}, {Address: "10.0.0.3:80"}}
	if !slices.Equal(got, want) || dropped != 3 {
		t.Errorf("normalize = %v, %d dropped, want %v, 3 dropped", got, dropped, want)
	}
}
