package dns

import (
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
)

// FuzzReply reads replies to a question for services and for addresses, as they
// come off the wire.
func FuzzReply(f *testing.F) {
	seed := func(rcode int, answer, extra, ns []string) {
		m := new(wire.Msg)
		m.SetQuestion("_http._tcp.example.", wire.TypeSRV)
		m.Response, m.Rcode = true, rcode
		parse := func(records []string) (list []wire.RR) {
			for _, record := range records {
				rr, err := wire.NewRR(record)
				if err != nil {
					f.Fatal(err)
				}
				list = append(list, rr)
			}
			return list
		}
		m.Answer, m.Extra, m.Ns = parse(answer), parse(extra), parse(ns)
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	seed(wire.RcodeSuccess, []string{"_http._tcp.example. 60 SRV 1 0 8080 a.example.", "_http._tcp.example. 60 SRV 1 5 0 ."},
		[]string{"a.example. 60 A 10.0.0.1", "a.example. 60 AAAA 2001:db8::1"}, nil)
	seed(wire.RcodeSuccess, []string{"_http._tcp.example. 60 CNAME a.example.", "a.example. 60 CNAME _http._tcp.example."}, nil, nil)
	seed(wire.RcodeNameError, nil, nil, []string{soa + "60"})

	f.Fuzz(func(t *testing.T, packet []byte) {
		reply := new(wire.Msg)
		if reply.Unpack(packet) != nil {
			return
		}
		for _, qtype := range []uint16{wire.TypeSRV, wire.TypeA, wire.TypeAAAA} {
			a, _, _ := read(reply, question{"_http._tcp.example.", qtype})
			if a.ttl < 0 {
				t.Errorf("TTL is %v", a.ttl)
			}
			known := glue(reply, a.services)
			checkServices(t, a, known)
		}
	})
}

// checkServices makes targets of what was read, with nobody to ask for more.
func checkServices(t *testing.T, a answer, known map[question]answer) {
	t.Helper()
	r := &round{settings: Settings{Type: Service, Name: "_http._tcp.example.", MinRefresh: time.Hour, MaxRefresh: time.Hour}, memory: newMemory()}
	r.config = new(wire.ClientConfig)
	for q, a := range known {
		a.ttl = time.Hour
		r.memory.put(q, a, time.Now())
	}
	a.ttl = time.Hour
	r.memory.put(question{"_http._tcp.example.", wire.TypeSRV}, a, time.Now())
	targets, _ := r.services(t.Context())
	for _, target := range targets {
		host, port, err := discovery.SplitAddress(target.Address, 0)
		if err != nil || port == 0 || host == "" || target.Weight < 0 || target.Weight > 65535 {
			t.Errorf("target %+v", target)
		}
	}
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n10.0.0.1 a b.example # c\n::1 ip6\n")
	f.Fuzz(func(t *testing.T, text string) {
		if parseHosts(text).of("localhost", Auto) == nil {
			t.Error("localhost has no address")
		}
	})
}
