package discovery_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/balancer/discovery/consul"
	"github.com/salgue441/velocity/balancer/discovery/dns"
	"github.com/salgue441/velocity/balancer/discovery/file"
	"github.com/salgue441/velocity/balancer/discovery/kubernetes"
	"github.com/salgue441/velocity/internal/testkit/discoverykit"
)

// world is a source and what it watches. Hosts listen on port 80.
type world interface {
	// source returns a new source of the same settings.
	source(t *testing.T) discovery.Source
	// publish makes the hosts what is to be found, and mends what is broken.
	publish(t *testing.T, hosts ...string)
	// breakDown makes every question fail until the next publish.
	breakDown(t *testing.T)
}

// worlds are all sources, by name.
func worlds() map[string]func(t *testing.T) world {
	return map[string]func(t *testing.T) world{
		"dns host":    func(t *testing.T) world { return newDNSWorld(t, dns.Host) },
		"dns service": func(t *testing.T) world { return newDNSWorld(t, dns.Service) },
		"file yaml":   func(t *testing.T) world { return fileWorld(filepath.Join(t.TempDir(), "targets.yaml")) },
		"file json":   func(t *testing.T) world { return fileWorld(filepath.Join(t.TempDir(), "targets.json")) },
		"consul":      func(t *testing.T) world { return newConsulWorld(t) },
		"kubernetes":  func(t *testing.T) world { return newKubernetesWorld(t) },
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// state is what a registry says at the moment.
type state struct {
	mu      sync.Mutex
	hosts   []string
	version int
	broken  bool
	changed chan struct{} // closed with the next change
}

func newState() *state { return &state{version: 1, changed: make(chan struct{})} }

func (s *state) set(broken bool, hosts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken = broken; !broken {
		s.hosts = hosts
	}
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *state) publish(_ *testing.T, hosts ...string) { s.set(false, hosts) }

func (s *state) breakDown(*testing.T) { s.set(true, nil) }

func (s *state) get() (hosts []string, version int, broken bool, changed chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts, s.version, s.broken, s.changed
}

type fileWorld string

func (w fileWorld) source(t *testing.T) discovery.Source {
	t.Helper()
	return must[*file.Source](t)(file.New(file.Settings{Path: string(w)}))
}

func (w fileWorld) publish(t *testing.T, hosts ...string) {
	t.Helper()
	items := make([]string, len(hosts))
	for i, host := range hosts {
		items[i] = strconv.Quote(net.JoinHostPort(host, "80"))
	}
	w.write(t, "["+strings.Join(items, ", ")+"]")
}

func (w fileWorld) breakDown(t *testing.T) { w.write(t, `["`) }

func (w fileWorld) write(t *testing.T, text string) {
	t.Helper()
	name := string(w) + ".new"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name, string(w)); err != nil {
		t.Fatal(err)
	}
}

type dnsWorld struct {
	*state
	kind dns.Type
	addr string
}

func newDNSWorld(t *testing.T, kind dns.Type) *dnsWorld {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &dnsWorld{newState(), kind, packets.LocalAddr().String()}
	discoverykit.ServeDNS(t, &wire.Server{PacketConn: packets, Handler: w})
	return w
}

func (w *dnsWorld) source(t *testing.T) discovery.Source {
	t.Helper()
	return must[*dns.Source](t)(dns.New(dns.Settings{
		Name: "_http._tcp.users.example.", Type: w.kind, Port: 80, Servers: []string{w.addr}, Attempts: 1,
		MinRefresh: time.Millisecond, MaxRefresh: 5 * time.Millisecond, Hosts: "/does/not/exist",
	}))
}

func (w *dnsWorld) ServeDNS(rw wire.ResponseWriter, r *wire.Msg) {
	hosts, _, broken, _ := w.get()
	reply := new(wire.Msg).SetReply(r)
	reply.RecursionAvailable = true
	name := r.Question[0].Name
	for i, host := range hosts {
		own := fmt.Sprintf("host-%d.example.", i)
		if w.kind == dns.Host {
			own = name
		} else if r.Question[0].Qtype == wire.TypeSRV {
			reply.Answer = append(reply.Answer, &wire.SRV{Hdr: header(name, wire.TypeSRV), Port: 80, Target: own})
		}
		a := &wire.A{Hdr: header(own, wire.TypeA), A: net.ParseIP(host)}
		if r.Question[0].Qtype == wire.TypeSRV {
			reply.Extra = append(reply.Extra, a)
		} else if r.Question[0].Qtype == wire.TypeA && own == name {
			reply.Answer = append(reply.Answer, a)
		}
	}
	if broken {
		reply = new(wire.Msg).SetRcode(r, wire.RcodeServerFailure)
	} else if len(hosts) == 0 {
		reply.Rcode = wire.RcodeNameError
	}
	_ = rw.WriteMsg(reply)
}

func header(name string, rrtype uint16) wire.RR_Header {
	return wire.RR_Header{Name: name, Rrtype: rrtype, Class: wire.ClassINET}
}

type consulWorld struct {
	*state
	*httptest.Server
}

func newConsulWorld(t *testing.T) *consulWorld {
	t.Helper()
	w := &consulWorld{state: newState()}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *consulWorld) source(t *testing.T) discovery.Source {
	t.Helper()
	return must[*consul.Source](t)(consul.New(consul.Settings{Address: w.URL, Service: "users", Pause: time.Millisecond}))
}

func (w *consulWorld) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	hosts, version, broken, changed := w.get()
	if r.URL.Query().Get("index") == strconv.Itoa(version) {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		hosts, version, broken, _ = w.get()
	}
	if broken {
		http.Error(rw, "No cluster leader", http.StatusInternalServerError)
		return
	}
	items := make([]string, len(hosts))
	for i, host := range hosts {
		items[i] = fmt.Sprintf(`{"Node":{"Address":%q},"Service":{"Address":"","Port":80},"Checks":[{"Status":"passing"}]}`, host)
	}
	rw.Header().Set("X-Consul-Index", strconv.Itoa(version))
	fmt.Fprintf(rw, "[%s]", strings.Join(items, ","))
}

type kubernetesWorld struct {
	*state
	*httptest.Server
}

func newKubernetesWorld(t *testing.T) *kubernetesWorld {
	t.Helper()
	w := &kubernetesWorld{state: newState()}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *kubernetesWorld) source(t *testing.T) discovery.Source {
	t.Helper()
	return must[*kubernetes.Source](t)(kubernetes.New(kubernetes.Settings{Server: w.URL, Service: "users", Pause: time.Millisecond}))
}

func (w *kubernetesWorld) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	since := r.URL.Query().Get("resourceVersion")
	for {
		hosts, version, broken, changed := w.get()
		switch {
		case broken && since == "":
			http.Error(rw, "etcd is gone", http.StatusInternalServerError)
			return
		case broken:
			panic(http.ErrAbortHandler)
		case since == "":
			fmt.Fprintf(rw, `{"metadata":{"resourceVersion":"%d"},"items":[%s]}`, version, endpointSlice(version, hosts))
			return
		case since != strconv.Itoa(version):
			since = strconv.Itoa(version)
			fmt.Fprintf(rw, `{"type":"MODIFIED","object":%s}`+"\n", endpointSlice(version, hosts))
			fallthrough
		default:
			rw.(http.Flusher).Flush()
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			}
		}
	}
}

func endpointSlice(version int, hosts []string) string {
	items := make([]string, len(hosts))
	for i, host := range hosts {
		items[i] = fmt.Sprintf(`{"addresses":[%q],"conditions":{"ready":true}}`, host)
	}
	return fmt.Sprintf(`{"metadata":{"name":"users-1","resourceVersion":"%d"},"addressType":"IPv4","endpoints":[%s],"ports":[{"port":80}]}`,
		version, strings.Join(items, ","))
}
