package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
)

const soa = "example. 300 IN SOA ns.example. admin.example. 1 7200 900 1209600 "

func TestHost(t *testing.T) {
	f := func(records []string, family Family, want string, wantHold time.Duration) {
		t.Helper()
		settings := serve(t, records...).settings(t, "Users.Example.")
		settings.Family = family
		got, hold, err := lookup(t, settings)
		if got != want || hold != wantHold || err != nil {
			t.Errorf("targets %q for %v, %v, want %q for %v", got, hold, err, want, wantHold)
		}
	}
	both := []string{"users.example. 60 A 10.0.0.1", "users.example. 30 A 10.0.0.2", "users.example. 20 AAAA 2001:db8::1"}
	f(both, Auto, "10.0.0.1:80 10.0.0.2:80", 30*time.Second)
	f(both, IPv4, "10.0.0.1:80 10.0.0.2:80", 30*time.Second)
	f(both, IPv6, "[2001:db8::1]:80", 20*time.Second)
	f(both, All, "10.0.0.1:80 10.0.0.2:80 [2001:db8::1]:80", 20*time.Second)
	f(append(both[2:3:3], soa+"60"), Auto, "[2001:db8::1]:80", 20*time.Second)

	// TTLs are bounded from both sides; one with the highest bit set is 0.
	f([]string{"users.example. 0 A 10.0.0.1"}, Auto, "10.0.0.1:80", DefaultMinRefresh)
	f([]string{"users.example. 86400 A 10.0.0.1"}, Auto, "10.0.0.1:80", DefaultMaxRefresh)
	f([]string{"users.example. 4294967295 A 10.0.0.1"}, Auto, "10.0.0.1:80", DefaultMinRefresh)

	// The shortest TTL of a chain of CNAMEs counts.
	f([]string{"users.example. 60 CNAME a.example.", "a.example. 15 CNAME b.example.", "b.example. 30 A 10.0.0.1"},
		Auto, "10.0.0.1:80", 15*time.Second)
	f([]string{"users.example. 60 CNAME gone.example.", soa + "20"}, Auto, "", 20*time.Second)

	// Negative answers hold as long as the SOA says: its TTL or minimum, whichever is less.
	f([]string{soa + "40"}, Auto, "", 40*time.Second)
	f([]string{soa + "3600"}, Auto, "", DefaultMaxRefresh)
	f([]string{strings.Replace(soa, " 300 ", " 10 ", 1) + "3600"}, Auto, "", 10*time.Second)
	f([]string{"users.example. 60 TXT nothing", soa + "40"}, Auto, "", 40*time.Second)
	f(nil, Auto, "", DefaultMinRefresh)
}

func TestHostThatHasNoAddressOfAServer(t *testing.T) {
	got, _, err := lookup(t, serve(t, "users.example. 60 A 0.0.0.0").settings(t, "users.example."))
	if got != "" || err == nil {
		t.Errorf("targets %q, %v, want an error: a blocked name is not an empty list", got, err)
	}
}

func TestChainAcrossAnswers(t *testing.T) {
	z := serve(t, "users.example. 60 CNAME a.example.", "a.example. 60 CNAME b.example.", "b.example. 30 A 10.0.0.1")
	z.script(func(w wire.ResponseWriter, _, reply *wire.Msg) {
		reply.Answer = reply.Answer[:1] // what a server does that follows no CNAMEs
		send(w, reply)
	})
	got, hold, err := lookup(t, z.settings(t, "users.example."))
	if got != "10.0.0.1:80" || hold != 30*time.Second || err != nil {
		t.Errorf("targets %q for %v, %v", got, hold, err)
	}
	if got, want := z.questions(), "udp A users.example., udp A a.example., udp A b.example."; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestChainThatDoesNotEnd(t *testing.T) {
	z := serve(t)
	f := func(target func(name string) string) {
		t.Helper()
		z.script(func(w wire.ResponseWriter, r, reply *wire.Msg) {
			name := r.Question[0].Name
			rr, err := wire.NewRR(name + " 60 CNAME " + target(name))
			if err != nil {
				t.Error(err)
			}
			reply.Rcode, reply.Answer = wire.RcodeSuccess, []wire.RR{rr}
			send(w, reply)
		})
		if _, _, err := lookup(t, z.settings(t, "users.example.")); err == nil {
			t.Error("a chain that does not end is an answer")
		}
	}
	f(func(name string) string { return name })
	f(func(name string) string { return "a." + name })
}

func TestTruncatedAnswerComesByTCP(t *testing.T) {
	var records []string
	var want []string
	for i := range 300 {
		records = append(records, fmt.Sprintf("users.example. 60 A 10.0.%d.%d", i/100, i%100+1))
		want = append(want, fmt.Sprintf("10.0.%d.%d:80", i/100, i%100+1))
	}
	z := serve(t, records...)
	got, _, err := lookup(t, z.settings(t, "users.example."))
	if got != strings.Join(want, " ") || err != nil {
		t.Errorf("%d targets, %v, want 300", len(strings.Fields(got)), err)
	}
	if got, want := z.questions(), "udp A users.example., tcp A users.example."; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}

	z.script(func(w wire.ResponseWriter, _, reply *wire.Msg) {
		reply.Truncated = true
		send(w, reply)
	})
	if got, _, err := lookup(t, z.settings(t, "users.example.")); err == nil {
		t.Errorf("targets %q of an answer that is truncated by TCP too", got)
	}
}

func TestForgedRepliesAreIgnored(t *testing.T) {
	z := serve(t, "users.example. 60 A 10.0.0.1")
	z.script(func(w wire.ResponseWriter, r, reply *wire.Msg) {
		forge := func(change func(m *wire.Msg)) {
			m := reply.Copy()
			m.Answer[0].(*wire.A).A = []byte{192, 0, 2, 1}
			change(m)
			send(w, m)
		}
		forge(func(m *wire.Msg) { m.Id++ })
		forge(func(m *wire.Msg) { m.Response = false })
		forge(func(m *wire.Msg) { m.Opcode = wire.OpcodeNotify })
		forge(func(m *wire.Msg) { m.Question[0].Name = "other.example." })
		forge(func(m *wire.Msg) { m.Question[0].Qtype = wire.TypeAAAA })
		forge(func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassCHAOS })
		forge(func(m *wire.Msg) { m.Question = nil })
		w.Write([]byte("nonsense"))
		w.Write([]byte{byte(r.Id >> 8), byte(r.Id), 0x80, 0, 0, 1, 0, 9, 0, 0, 0, 0, 5})
		reply.Question[0].Name = strings.ToUpper(reply.Question[0].Name)
		send(w, reply)
	})
	if got, _, err := lookup(t, z.settings(t, "users.example.")); got != "10.0.0.1:80" || err != nil {
		t.Errorf("targets %q, %v", got, err)
	}
}

func TestWrongIDOnlyIsATimeout(t *testing.T) {
	z := serve(t, "users.example. 60 A 10.0.0.1")
	z.script(func(w wire.ResponseWriter, _, reply *wire.Msg) {
		reply.Id++
		send(w, reply)
	})
	settings := z.settings(t, "users.example.")
	settings.Timeout, settings.Attempts = 20*time.Millisecond, 2
	if got, _, err := lookup(t, settings); err == nil || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Errorf("targets %q, %v, want a time limit", got, err)
	}
	if got, want := z.questions(), "udp A users.example., udp A users.example."; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestServersAreAskedByTurns(t *testing.T) {
	good := serve(t, "users.example. 60 A 10.0.0.1", soa+"60")
	f := func(answer func(w wire.ResponseWriter, r, reply *wire.Msg)) {
		t.Helper()
		bad := serve(t)
		bad.script(answer)
		settings := bad.settings(t, "users.example.")
		settings.Servers, settings.Family = []string{bad.addr, good.addr}, All
		settings.Timeout = 200 * time.Millisecond
		if got, _, err := lookup(t, settings); got != "10.0.0.1:80" || err != nil {
			t.Errorf("targets %q, %v", got, err)
		}
		if got, want := bad.questions(), "udp A users.example."; got != want {
			t.Errorf("the bad server was asked %s, want %s: who answered is asked first", got, want)
		}
	}
	f(fail(wire.RcodeServerFailure))
	f(fail(wire.RcodeRefused))
	f(silence)
	f(func(w wire.ResponseWriter, r, _ *wire.Msg) { // refers to others
		reply := new(wire.Msg).SetReply(r)
		send(w, reply)
	})
}

func TestServerWithoutEDNS(t *testing.T) {
	z := serve(t, "users.example. 60 A 10.0.0.1")
	z.script(func(w wire.ResponseWriter, r, reply *wire.Msg) {
		if r.IsEdns0() != nil {
			m := new(wire.Msg).SetRcodeFormatError(r)
			m.Question = nil
			send(w, m)
			return
		}
		send(w, reply)
	})
	if got, _, err := lookup(t, z.settings(t, "users.example.")); got != "10.0.0.1:80" || err != nil {
		t.Errorf("targets %q, %v", got, err)
	}
}

func TestSearchDomains(t *testing.T) {
	f := func(name string, records []string, want, wantAsked string) {
		t.Helper()
		z := serve(t, append(records, soa+"60")...)
		settings := z.settings(t, name)
		settings.Search, settings.Family = []string{"prod.example.", "example"}, IPv4
		if got, _, err := lookup(t, settings); got != want || err != nil {
			t.Errorf("%s: targets %q, %v, want %q", name, got, err, want)
		}
		if got := z.questions(); got != wantAsked {
			t.Errorf("%s: asked %s, want %s", name, got, wantAsked)
		}
	}
	records := []string{"users.example. 60 A 10.0.0.1", "users.prod. 60 A 10.0.0.2"}
	f("users", records, "10.0.0.1:80", "udp A users.prod.example., udp A users.example.")
	f("users.prod", records, "10.0.0.2:80", "udp A users.prod.")
	f("users.", records, "", "udp A users.")
	f("nobody", records, "", "udp A nobody.prod.example., udp A nobody.example., udp A nobody.")

	// A candidate that fails is not passed over for the next one.
	z := serve(t, "users.example. 60 A 10.0.0.1")
	z.script(func(w wire.ResponseWriter, r, reply *wire.Msg) {
		if r.Question[0].Name == "users.prod.example." {
			reply.SetRcode(r, wire.RcodeServerFailure)
		}
		send(w, reply)
	})
	settings := z.settings(t, "users")
	settings.Search = []string{"prod.example.", "example"}
	if got, _, err := lookup(t, settings); err == nil {
		t.Errorf("targets %q of another candidate than the one that failed", got)
	}
}

func TestResolvConfAndHosts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config, err := clientConfig(Settings{
		ResolvConf: write("resolv.conf", "nameserver 192.0.2.1\nnameserver fe80::1%lo\nsearch a.example b.example\noptions ndots:5 timeout:3 attempts:4\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &wire.ClientConfig{
		Servers: []string{"192.0.2.1:53", "[fe80::1%lo]:53"}, Search: []string{"a.example", "b.example"},
		Port: "53", Ndots: 5, Timeout: 3, Attempts: 4,
	}
	if !reflect.DeepEqual(config, want) {
		t.Errorf("configuration is %+v, want %+v", config, want)
	}
	if config, err := clientConfig(Settings{ResolvConf: filepath.Join(dir, "none")}); err != nil || config.Servers[0] != "127.0.0.1:53" {
		t.Errorf("configuration without a file is %+v, %v", config, err)
	}

	hosts := write("hosts", "# comment\n10.0.0.9 Users users.local # both\n::1 ip6\nnonsense x\n10.0.0.8\n10.0.0.7 users\n")
	f := func(name string, family Family, want string) {
		t.Helper()
		// Nobody listens on port 1: whatever is asked for fails.
		got, _, err := lookup(t, Settings{Name: name, Port: 80, Family: family, Hosts: hosts, Servers: []string{"127.0.0.1:1"}})
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: targets %q, %v, want %q", name, got, err, want)
		}
	}
	f("users", Auto, "10.0.0.9:80 10.0.0.7:80")
	f("USERS.local.", Auto, "10.0.0.9:80")
	f("ip6", Auto, "[::1]:80")
	f("ip6", IPv4, "")
	f("localhost", Auto, "127.0.0.1:80")
	f("db.localhost", IPv6, "[::1]:80")
	f("localhost", All, "127.0.0.1:80 [::1]:80")
	f("192.0.2.7", Auto, "192.0.2.7:80")
	f("other", Auto, "")
}

func TestServices(t *testing.T) {
	f := func(records, glue []string, port int, want []discovery.Target, wantAsked string) {
		t.Helper()
		z := serve(t, append(records, soa+"60")...)
		z.script(func(w wire.ResponseWriter, r, reply *wire.Msg) {
			if r.Question[0].Qtype == wire.TypeSRV {
				for _, record := range glue {
					rr, err := wire.NewRR(record)
					if err != nil {
						t.Error(err)
					}
					reply.Extra = append(reply.Extra, rr)
				}
			}
			send(w, reply)
		})
		settings := z.settings(t, "_http._tcp.example.")
		settings.Type, settings.Port = Service, port
		s, err := New(settings)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := s.refresh(t.Context(), newMemory())
		if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("targets %+v, %v, want %+v", got, err, want)
		}
		if got := z.questions(); got != wantAsked {
			t.Errorf("asked %s, want %s", got, wantAsked)
		}
	}
	const name, asked = "_http._tcp.example. 60 SRV ", "udp SRV _http._tcp.example."
	two := []string{name + "1 5 8080 a.example.", name + "2 0 8081 B.example."}
	addresses := []string{"a.example. 60 A 10.0.0.1", "b.example. 60 A 10.0.0.2"}
	targets := []discovery.Target{{Address: "10.0.0.1:8080", Weight: 5, Priority: 1}, {Address: "10.0.0.2:8081", Priority: 2}}

	f(two, addresses, 0, targets, asked)
	f(append(two, addresses...), nil, 0, targets, asked+", udp A a.example., udp A b.example.")
	f(append(two, addresses...), addresses[:1], 0, targets, asked+", udp A b.example.")
	f(two, append(addresses, "_http._tcp.example. 60 A 192.0.2.1", "c.example. 60 A 192.0.2.2"), 0, targets, asked)
	f(two[:1], addresses, 9090, []discovery.Target{{Address: "10.0.0.1:9090", Weight: 5, Priority: 1}}, asked)

	// Weight 0 beside others is a small share, alone no statement.
	f([]string{name + "1 0 8080 a.example.", name + "1 9 8081 b.example."}, addresses, 0,
		[]discovery.Target{{Address: "10.0.0.1:8080", Weight: 1, Priority: 1}, {Address: "10.0.0.2:8081", Weight: 9, Priority: 1}}, asked)

	f([]string{name + "0 0 0 ."}, nil, 0, nil, asked)
	f(nil, nil, 0, nil, asked)
	f(two[:1], nil, 0, nil, asked+", udp A a.example.")
}

func TestSettings(t *testing.T) {
	f := func(s Settings, ok bool) {
		t.Helper()
		if _, err := New(s); (err == nil) != ok {
			t.Errorf("New(%+v): %v", s, err)
		}
	}
	f(Settings{Name: "users", Port: 80}, true)
	f(Settings{Name: "users"}, false)
	f(Settings{Name: "users", Type: Service}, true)
	f(Settings{Port: 80}, false)
	f(Settings{Name: strings.Repeat("a", 64), Port: 80}, false)
	f(Settings{Name: "users", Port: 80, Servers: []string{"::1", "[::1]", "127.0.0.1", "127.0.0.1:5353", "[::1]:53"}}, true)
	f(Settings{Name: "users", Port: 80, Servers: []string{"ns.example"}}, false)
	f(Settings{Name: "users", Port: 80, MinRefresh: time.Hour}, true)
	f(Settings{Name: "users", Port: 80, MinRefresh: time.Hour, MaxRefresh: time.Second}, false)
}
