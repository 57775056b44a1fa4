package dns

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/internal/testkit/discoverykit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a DNS server on loopback that answers as the test says.
type zone struct {
	addr string

	mu      sync.Mutex
	records []wire.RR
	answer  func(w wire.ResponseWriter, r, reply *wire.Msg) // sends; nil sends the reply
	asked   []string                                        // "udp A users.example."
}

// serve starts a server by UDP and TCP on one port.
func serve(t *testing.T, records ...string) *zone {
	t.Helper()
	z := new(zone)
	z.set(t, records...)
	var packets net.PacketConn
	var streams net.Listener
	for range 20 {
		var err error
		if streams, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if packets, err = net.ListenPacket("udp", streams.Addr().String()); err == nil {
			break
		}
		streams.Close()
	}
	if packets == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	z.addr = streams.Addr().String()
	for _, server := range []*wire.Server{{PacketConn: packets, Handler: z}, {Listener: streams, Handler: z}} {
		discoverykit.ServeDNS(t, server)
	}
	return z
}

func (z *zone) set(t *testing.T, records ...string) {
	t.Helper()
	var list []wire.RR
	for _, record := range records {
		rr, err := wire.NewRR(record)
		if err != nil {
			t.Fatalf("%s: %v", record, err)
		}
		list = append(list, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records = list
}

func (z *zone) script(answer func(w wire.ResponseWriter, r, reply *wire.Msg)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answer = answer
}

// questions returns what was asked since the last call.
func (z *zone) questions() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	asked := strings.Join(z.asked, ", ")
	z.asked = nil
	return asked
}

func (z *zone) ServeDNS(w wire.ResponseWriter, r *wire.Msg) {
	z.mu.Lock()
	q := r.Question[0]
	z.asked = append(z.asked, w.RemoteAddr().Network()+" "+wire.TypeToString[q.Qtype]+" "+q.Name)
	reply, answer := z.reply(r), z.answer
	z.mu.Unlock()
	if answer != nil {
		answer(w, r, reply)
		return
	}
	if w.RemoteAddr().Network() == "udp" {
		size := uint16(wire.MinMsgSize)
		if opt := r.IsEdns0(); opt != nil {
			size = opt.UDPSize()
		}
		reply.Truncate(int(size))
	}
	send(w, reply)
}

// reply looks a question up: with CNAMEs followed, glue for services, and the
// first SOA for what is not there.
func (z *zone) reply(r *wire.Msg) *wire.Msg {
	reply := new(wire.Msg).SetReply(r)
	reply.RecursionAvailable = true
	name, known := r.Question[0].Name, false
	for again := true; again; {
		again = false
		for _, rr := range z.records {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			known = true
			if alias, ok := rr.(*wire.CNAME); ok && r.Question[0].Qtype != wire.TypeCNAME {
				reply.Answer, name, again, known = append(reply.Answer, rr), alias.Target, true, false
				break
			}
			if rr.Header().Rrtype == r.Question[0].Qtype {
				reply.Answer = append(reply.Answer, rr)
			}
		}
	}
	found := len(reply.Answer) > 0 && reply.Answer[len(reply.Answer)-1].Header().Rrtype == r.Question[0].Qtype
	for _, rr := range z.records {
		if soa, ok := rr.(*wire.SOA); ok && !found {
			reply.Ns = append(reply.Ns, soa)
			break
		}
	}
	if !known && !found {
		reply.Rcode = wire.RcodeNameError
	}
	return reply
}

// fail answers with a code and nothing else.
func fail(rcode int) func(w wire.ResponseWriter, r, reply *wire.Msg) {
	return func(w wire.ResponseWriter, r, _ *wire.Msg) { send(w, new(wire.Msg).SetRcode(r, rcode)) }
}

// send answers; a client that has closed its socket is no failure of the test.
func send(w wire.ResponseWriter, m *wire.Msg) {
	_ = w.WriteMsg(m)
}

// silence does not answer.
func silence(wire.ResponseWriter, *wire.Msg, *wire.Msg) {}

// settings ask the zone and nobody else, and read no file of the machine.
func (z *zone) settings(t *testing.T, name string) Settings {
	t.Helper()
	return Settings{Name: name, Port: 80, Servers: []string{z.addr}, Hosts: t.TempDir() + "/hosts"}
}

// lookup is one refresh of a source that knows nothing yet.
func lookup(t *testing.T, settings Settings) (string, time.Duration, error) {
	t.Helper()
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return s.look(t, newMemory())
}

func (s *Source) look(t *testing.T, m *memory) (string, time.Duration, error) {
	t.Helper()
	targets, expires, err := s.refresh(t.Context(), m)
	return show(targets), time.Until(expires).Round(time.Second), err
}

func show(targets []discovery.Target) string {
	var list []string
	for _, target := range targets {
		list = append(list, target.Address)
	}
	return strings.Join(list, " ")
}
