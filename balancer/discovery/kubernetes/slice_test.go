package kubernetes

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/salgue441/velocity/balancer/discovery"
)

func TestTargets(t *testing.T) {
	f := func(port string, family Family, want, wantErr string, texts ...string) {
		t.Helper()
		known := make(sliceSet)
		for i, text := range texts {
			s := new(slice)
			if err := json.Unmarshal([]byte(text), s); err != nil {
				t.Fatal(err)
			}
			s.Metadata.Name = string(rune('a' + i))
			known[s.Metadata.Name] = s
		}
		targets, err := known.targets(port, family)
		var list []string
		for _, target := range targets {
			text := target.Address
			if target.Draining {
				text += "-"
			}
			list = append(list, text)
		}
		slices.Sort(list)
		if got := strings.Join(list, " "); got != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("port %q, %q: targets are %q, %v, want %q, %s", port, family, got, err, want, wantErr)
		}
	}
	const (
		v4   = `{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1","10.0.0.9"]}],"ports":[{"name":"http","port":80}]}`
		more = `{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.2"]}],"ports":[{"name":"http","port":81,"protocol":"TCP"},{"name":"admin","port":82},{"name":"dns","port":53,"protocol":"UDP"}]}`
		v6   = `{"addressType":"IPv6","endpoints":[{"addresses":["fd00::1"]}],"ports":[{"name":"http","port":80}]}`
		name = `{"addressType":"FQDN","endpoints":[{"addresses":["db.example.com"]}],"ports":[{"name":"http","port":80}]}`
		none = `{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.3"],"conditions":{"ready":false}}],"ports":[]}`
		bye  = `{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.4"],"conditions":{"ready":false,"serving":true,"terminating":true}}],"ports":[{"name":"http","port":80}]}`
		wild = `{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.5"]}],"ports":[{"name":""}]}`
		two  = `{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.6"]}],"ports":[{"name":"http","port":80},{"name":"h2","port":80}]}`
		bad  = `{"addressType":"IPv4","endpoints":[{"addresses":["0.0.0.0"]},{"addresses":["10.0.0.7"]},{"addresses":[]}],"ports":[{"port":80}]}`
	)
	f("http", "", "10.0.0.1:80 10.0.0.2:81", "", v4, more, v6)
	f("", "", "10.0.0.1:80", "", v4, v6)
	f("80", "", "10.0.0.1:80", "slice b has no TCP port 80", v4, more)
	f("82", "", "10.0.0.2:82", "", more)
	f("", "", "", "slice a has 2 TCP ports", more)
	f("dns", "", "", "slice a has no TCP port dns", more)
	f("", IPv6, "[fd00::1]:80", "", v4, v6)
	f("", "", "[fd00::1]:80", "", v6, none)
	f("", IPv4, "", "", v6, none)
	f("", "", "db.example.com:80", "", name)
	f("", "", "10.0.0.1:80 10.0.0.4:80-", "", v4, bye)
	f("", "", "10.0.0.4:80", "", bye, none)
	f("8080", "", "10.0.0.5:8080", "", wild)
	f("", "", "", "0 TCP ports", wild)
	f("", "", "10.0.0.6:80", "", two)
	f("80", "", "10.0.0.6:80", "", two)
	f("", "", "10.0.0.7:80", "0.0.0.0", bad)
	f("", "", "", "")
}

func FuzzEvents(f *testing.F) {
	f.Add(modified(5, "10.0.0.1", "fd00::1") + `{"type":"ERROR","object":{"code":410}}`)
	f.Add(`{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"1"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":false,"serving":true,"terminating":true}}],"ports":[{"port":70000}]}}`)
	f.Add(`{"type":"DELETED","object":{"metadata":{"name":"a","resourceVersion":"1"}}}{"type":"BOOKMARK"`)
	f.Fuzz(func(t *testing.T, stream string) {
		known := make(sliceSet)
		err := readEvents(strings.NewReader(stream), func(e event) error {
			version, err := known.apply(e)
			if err == nil && version == "" {
				t.Error("an event without version was applied")
			}
			return err
		})
		if expired(err) && !strings.Contains(stream, "ERROR") {
			t.Errorf("%q makes a version expire", stream)
		}
		for _, port := range []string{"", "80", "http"} {
			targets, _ := known.targets(port, "")
			for _, target := range targets {
				if host, port, err := discovery.SplitAddress(target.Address, 0); err != nil || host == "" || port == 0 {
					t.Errorf("target %+v", target)
				}
			}
		}
	})
}

func TestEventsAreBounded(t *testing.T) {
	err := readEvents(strings.NewReader(`{"type":"`+strings.Repeat("x", 2*maxEvent)), func(event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("an event without end is %v", err)
	}
	long, n := modified(5, strings.Repeat("1", maxEvent/4)), 0
	err = readEvents(strings.NewReader(strings.Repeat(long, 6)), func(event) error { n++; return nil })
	if err != nil || n != 6 {
		t.Errorf("%d of 6 events, %v: the bound is for each", n, err)
	}
}
