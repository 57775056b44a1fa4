package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/upstream"
)

// The head that the client gets is the gateway's own; what both sides sent too
// early arrives.
func TestEarlyBytes(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		if _, ok := p.request(); ok {
			p.write(strings.Replace(agreement, "Connection: Upgrade", "Connection: Upgrade, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-Kept: 2", 1) + "from upstream ")
			echo(p)
		}
	})
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	c := s.dial()
	early := strings.Repeat("from client ", 1000)
	c.send(handshake + early)
	head := c.head()
	for _, line := range []string{"Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-Websocket-Accept: " + testAccept + "\r\n", "X-Kept: 2\r\n", "X-Request-Id: "} {
		if strings.Count(head, line) != 1 {
			t.Errorf("%q is not there once: %q", line, head)
		}
	}
	for _, name := range []string{"X-Hop", "Keep-Alive", "Content-Length", "close"} {
		if strings.Contains(head, name) {
			t.Errorf("%s is in %q", name, head)
		}
	}
	c.expect("from upstream " + early)
	c.send("more")
	c.expect("more")
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c.br); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v after the end", rest, err)
	}
	s.settle(1)
	e := s.only()
	in, out := int64(len(early)+4), int64(len("from upstream ")+len(early)+4)
	if e.Status != 101 || e.BytesIn != in || e.BytesOut != out || e.Reason != "" || e.Source != "upstream" || e.Attempts != 1 {
		t.Errorf("event %+v", e)
	}
	if e.GatewayDuration() > e.Duration/2 {
		t.Errorf("the gateway took %v of %v", e.GatewayDuration(), e.Duration)
	}
	for _, want := range []string{
		`velocity_upgrades_total{route="r"} 1`, `velocity_upgrades_open{route="r"} 0`,
		`velocity_upgrade_received_bytes_total{route="r"} ` + strconv.FormatInt(in, 10),
		`velocity_upgrade_sent_bytes_total{route="r"} ` + strconv.FormatInt(out, 10),
		`velocity_response_body_bytes_total{route="r"} 0`,
		`velocity_requests_total{route="r",code="1xx"} 1`,
	} {
		if !strings.Contains(s.metrics(), want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// Random bytes in random pieces arrive unchanged both ways, over plain TCP and
// over TLS.
func TestTunnelKeepsBytes(t *testing.T) {
	f := func(name, target string, tunnels, size int, policy UpgradePolicy, pool *x509.CertPool) {
		t.Helper()
		s := newUpgradeSite(t, policy, target)
		if pool != nil {
			s.trust("u", target, pool)
		}
		var clients sync.WaitGroup
		for i := range tunnels {
			clients.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(size)))
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(rng.Uint32())
				}
				c := s.open()
				var sent sync.WaitGroup
				sent.Go(func() {
					for rest := data; len(rest) > 0; {
						n := min(1+rng.IntN(1<<(1+rng.IntN(18))), len(rest))
						if _, err := c.Write(rest[:n]); err != nil {
							t.Errorf("%s: write: %v", name, err)
							return
						}
						rest = rest[n:]
					}
					_ = c.CloseWrite()
				})
				got, err := io.ReadAll(c.br)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes came back of %d, equal %v, %v", name, len(got), len(data), bytes.Equal(got, data), err)
				}
				sent.Wait()
				_ = c.Close()
			})
		}
		clients.Wait()
		s.settle(tunnels)
		for _, e := range s.taken() {
			if e.BytesIn != int64(size) || e.BytesOut != int64(size) || e.Reason != "" {
				t.Errorf("%s: event %+v", name, e.Event)
			}
		}
	}
	plain := newBackend(t, switching(echo))
	for _, size := range []int{0, 1, ownSize, pumpSize, pumpSize + 1, 3 << 20} {
		f(strconv.Itoa(size)+" bytes", plain.url, 4, size, UpgradePolicy{}, nil)
	}
	target, pool := secureEcho(t)
	for _, size := range []int{0, 1, ownSize, 2 * ownSize, 3 << 20} {
		f(strconv.Itoa(size)+" bytes over TLS", target, 4, size, UpgradePolicy{}, pool)
	}
}

// secureEcho is an echoing backend over TLS and what its certificate is
// verified with.
func secureEcho(t *testing.T) (target string, pool *x509.CertPool) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	t.Cleanup(web.Close)
	pool = x509.NewCertPool()
	pool.AddCert(web.Certificate())
	ln := listen(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(patience))
				c := tls.Server(nc, &tls.Config{Certificates: web.TLS.Certificates})
				p := &peer{Conn: c, t: t, br: bufio.NewReaderSize(c, 64<<10)}
				if _, ok := p.request(); ok {
					p.write(agreement)
					_, _ = io.Copy(c, p.br)
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, nc) // the rest of the gateway's end
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		running.Wait()
	})
	return "https://" + ln.Addr().String(), pool
}

// trust replaces an upstream's endpoint by one that trusts a pool.
func (s *site) trust(name, target string, pool *x509.CertPool) {
	s.t.Helper()
	s.point(name, target, upstream.Settings{TLS: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}})
}

// point replaces an upstream's endpoint by one of other settings.
func (s *site) point(name, target string, settings upstream.Settings) {
	s.t.Helper()
	e, err := upstream.NewEndpoint(target, balancer.NewEndpoint(1, true), s.registry.Endpoint(name, target), settings)
	if err != nil {
		s.t.Fatal(err)
	}
	state, err := upstream.NewState(balancer.Settings{Algorithm: balancer.RoundRobin}, upstream.Member{Endpoint: e})
	if err != nil {
		s.t.Fatal(err)
	}
	s.upstreams[name].Set(state)
}

// When one side ends what it sends, the other may go on.
func TestHalfClose(t *testing.T) {
	go1 := make(chan struct{})
	b := newBackend(t, switching(func(p *peer) {
		all, err := io.ReadAll(p.br) // to the client's end
		<-go1
		p.write("after " + string(all))
		if err != nil {
			p.write(err.Error())
		}
	}))
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	c := s.open()
	c.send("the end")
	_ = c.CloseWrite()
	close(go1)
	if rest, err := io.ReadAll(c.br); err != nil || string(rest) != "after the end" {
		t.Errorf("%q, %v", rest, err)
	}
	s.settle(1)

	// And the other way round.
	said := make(chan string, 1)
	b = newBackend(t, switching(func(p *peer) {
		_ = p.Conn.(*net.TCPConn).CloseWrite()
		all, _ := io.ReadAll(p.br)
		said <- string(all)
	}))
	s = newUpgradeSite(t, UpgradePolicy{}, b.url)
	c = s.open()
	if _, err := c.br.ReadByte(); err != io.EOF {
		t.Errorf("the upstream's end arrived as %v", err)
	}
	c.send("still here")
	_ = c.Close()
	if got := <-said; got != "still here" {
		t.Errorf("the upstream got %q", got)
	}
	s.settle(1)
	if e := s.only(); e.Reason != "" {
		t.Errorf("reason %q", e.Reason)
	}
}

// A side that breaks off ends the tunnel at once, and everything is given back.
func TestTunnelResets(t *testing.T) {
	b := newBackend(t, switching(func(p *peer) {
		word, _ := p.br.ReadString('\n')
		if word == "reset\n" {
			p.reset()
			return
		}
		_, err := io.Copy(io.Discard, p.br)
		if word == "tell\n" && err == nil {
			t.Error("the client's reset looked like an end")
		}
	}))
	f := func(word, protocol, reason string, reset bool) {
		t.Helper()
		s := newUpgradeSite(t, UpgradePolicy{}, b.url)
		if protocol == "tcp" {
			s.routes["r"].Upgrade.Protocols = []string{"tcp"}
		}
		c := s.dial()
		c.send(strings.ReplaceAll(handshake, "websocket", protocol))
		c.head()
		c.send(word + "\n")
		if word == "reset" {
			_, err := io.ReadAll(c.br)
			if (err != nil) != reset {
				t.Errorf("%s over %s: the client saw %v", word, protocol, err)
			}
		} else {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
		s.settle(1)
		if e := s.only(); e.Reason != reason || e.Status != 101 {
			t.Errorf("%s over %s: status %d, reason %q, want %q", word, protocol, e.Status, e.Reason, reason)
		}
		if n := s.proxy.Upgrades(); n != 0 {
			t.Errorf("%d upgrades are open", n)
		}
	}
	f("reset", "websocket", "upstream_reset", false)
	f("go", "websocket", "client_closed", false)
	// This backend answers for websocket only: over tcp it is another one's turn.
	b = newBackend(t, func(p *peer) {
		if _, ok := p.request(); !ok {
			return
		}
		p.write("HTTP/1.1 101 Up\r\nUpgrade: tcp\r\n\r\n")
		word, _ := p.br.ReadString('\n')
		if word == "reset\n" {
			p.reset()
			return
		}
		if _, err := io.Copy(io.Discard, p.br); err == nil {
			t.Error("the client's reset looked like an orderly end")
		}
	})
	f("reset", "tcp", "upstream_reset", true)
	f("go", "tcp", "client_closed", false)
}

func TestTunnelTimeLimits(t *testing.T) {
	b := newBackend(t, switching(echo))
	f := func(name string, p UpgradePolicy, reason string, atLeast time.Duration, talk func(c *client)) {
		t.Helper()
		s := newUpgradeSite(t, p, b.url)
		began := time.Now()
		c := s.open()
		talk(c)
		_, _ = io.Copy(io.Discard, c.br)
		if took := time.Since(began); took < atLeast || took > patience/2 {
			t.Errorf("%s: ended after %v, want %v", name, took, atLeast)
		}
		s.settle(1)
		if e := s.only(); e.Reason != reason {
			t.Errorf("%s: reason %q, want %q", name, e.Reason, reason)
		}
	}
	f("idle", UpgradePolicy{IdleTimeout: 50 * time.Millisecond}, "upgrade_idle", 50*time.Millisecond, func(*client) {})
	// Traffic puts the limit off.
	f("busy", UpgradePolicy{IdleTimeout: 150 * time.Millisecond}, "upgrade_idle", 400*time.Millisecond, func(c *client) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 15 {
			<-tick.C
			c.send("x")
			c.expect("x")
		}
	})
	f("longest", UpgradePolicy{IdleTimeout: time.Minute, MaxDuration: 100 * time.Millisecond}, "upgrade_expired", 100*time.Millisecond, func(*client) {})
	// One direction that flows is enough to live, but not beyond the maximum.
	f("longest while busy", UpgradePolicy{IdleTimeout: time.Minute, MaxDuration: 200 * time.Millisecond}, "upgrade_expired", 200*time.Millisecond, func(c *client) {
		for {
			if _, err := c.Write(make([]byte, 4<<10)); err != nil {
				return
			}
			if _, err := io.ReadFull(c.br, make([]byte, 4<<10)); err != nil {
				return
			}
		}
	})
}

// A side that does not read is not read for: memory stays bounded, and the
// limits still hold.
func TestTunnelBackPressure(t *testing.T) {
	b := newBackend(t, switching(func(p *peer) {
		part := make([]byte, 64<<10)
		for {
			if _, err := p.Write(part); err != nil {
				return
			}
		}
	}))
	s := newUpgradeSite(t, UpgradePolicy{IdleTimeout: 300 * time.Millisecond}, b.url)
	c := s.open() // and reads no more
	s.settle(1)
	if e := s.only(); e.Reason != "upgrade_idle" || e.BytesOut > 64<<20 {
		t.Errorf("reason %q after %d bytes", e.Reason, e.BytesOut)
	}
	_ = c.Close()
}

// A swap leaves tunnels alone, and they do not hold the snapshot before.
func TestTunnelOutlivesSnapshot(t *testing.T) {
	b := newBackend(t, switching(echo))
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	var clients []*client
	for range 50 {
		clients = append(clients, s.open())
	}
	after := &collector{}
	next := *s.snapshot
	next.Sinks = append(next.Sinks, after)
	s.proxy.Swap(&next)
	for _, e := range s.upstreams["u"].State().Endpoints {
		e.Live.Retire()
		e.CloseIdle()
	}
	if n := s.proxy.Upgrades(); n != 50 {
		t.Errorf("%d upgrades are open, want 50", n)
	}
	for _, c := range clients {
		c.send("alive")
		c.expect("alive")
		_ = c.Close()
	}
	s.settle(50)
	if n := after.count(); n != 50 {
		t.Errorf("the sink of today got %d of 50", n)
	}
}

func TestTunnelDrain(t *testing.T) {
	b := newBackend(t, switching(echo))
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	soon, stays := s.open(), s.open()
	waiting := s.dial()
	waiting.send("GET /-end- HTTP/1.1\r\nHost: h\r\n\r\n")
	waiting.response()

	s.proxy.Drain()
	waiting.send(handshake)
	if status, h, _ := waiting.response(); status != 503 || !h.ConnectionClose() {
		t.Errorf("a handshake while draining: status %d", status)
	}
	soon.send("hello")
	soon.expect("hello")
	_ = soon.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if n := s.proxy.CloseUpgrades(ctx); n != 1 {
		t.Errorf("%d were cut, want 1", n)
	}
	if _, err := stays.br.ReadByte(); err != io.EOF {
		t.Errorf("the client saw %v, want an end", err)
	}
	events := s.taken()
	if last := events[len(events)-1]; last.Reason != "upgrade_drained" || last.Status != 101 {
		t.Errorf("event %+v", last.Event)
	}
	if n := s.proxy.CloseUpgrades(context.Background()); n != 0 {
		t.Errorf("%d were cut after the end", n)
	}

	// A handshake that was under way then comes too late.
	s.proxy.draining.Store(false)
	late := s.dial()
	late.send(handshake)
	if rest, err := io.ReadAll(late.br); err != nil || len(rest) > 0 {
		t.Errorf("a late client got %q, %v", rest, err)
	}
}

type collector struct {
	mu sync.Mutex
	n  int
}

// Record implements telemetry.Sink.
func (c *collector) Record(*telemetry.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// A tunnel is never a connection of the pool: neither does it come from there
// nor does it go there.
func TestTunnelIsNotPooled(t *testing.T) {
	b := newBackend(t, func(p *peer) {
		for {
			head, ok := p.request()
			switch {
			case !ok:
				return
			case strings.Contains(head, "Upgrade:"):
				p.write(agreement)
				echo(p)
				return
			default:
				p.reply(strconv.Itoa(p.number))
			}
		}
	})
	s := newUpgradeSite(t, UpgradePolicy{}, b.url)
	c := s.dial()
	get := func(want string) {
		t.Helper()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, _, body := c.response(); body != want {
			t.Errorf("answered over connection %s, want %s", body, want)
		}
	}
	get("1")
	w := s.open() // the second connection
	get("1")
	ep := s.upstreams["u"].State().Endpoints[0]
	if open, idle := ep.Connections(); open != 2 || idle != 1 {
		t.Errorf("%d open, %d idle, want 2 and 1", open, idle)
	}
	_ = w.Close()
	s.settle(1)
	get("1")
	if open, idle := ep.Connections(); open != 1 || idle != 1 || b.connections() != 2 {
		t.Errorf("%d open, %d idle, %d in all", open, idle, b.connections())
	}
}

// A client that has gone before its tunnel begins leaves nothing behind, also
// when fasthttp notices first, with an answer before still unsent.
func TestTunnelAbandoned(t *testing.T) {
	asked, proceed := make(chan struct{}), make(chan struct{})
	b := newBackend(t, func(p *peer) {
		for {
			head, ok := p.request()
			if !ok {
				return
			}
			if !strings.Contains(head, "Upgrade:") {
				p.reply("first")
				continue
			}
			asked <- struct{}{}
			<-proceed
			p.write(agreement)
			echo(p)
			return
		}
	})
	f := func(name, before string) {
		t.Helper()
		s := newUpgradeSite(t, UpgradePolicy{}, b.url)
		c := s.dial()
		c.send(before + handshake)
		<-asked
		_ = c.SetLinger(0)
		_ = c.Close()
		proceed <- struct{}{}
		s.settle(1)
		events := s.taken()
		if last := events[len(events)-1]; last.Reason != "client_closed" {
			t.Errorf("%s: reason %q", name, last.Reason)
		}
		if open, _ := s.upstreams["u"].State().Endpoints[0].Connections(); open != strings.Count(before, "GET") {
			t.Errorf("%s: %d connections are open", name, open)
		}
	}
	f("alone", "")
	f("behind another request", "GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
}

// Connections without a file descriptor work as well.
func TestTunnelInMemory(t *testing.T) {
	left, right := net.Pipe()
	far, near := net.Pipe()
	tn := &tunnel{client: right, endpoint: near, metrics: prepareSite(t, "").registry.Route("r")}
	var ends sync.WaitGroup
	ends.Go(func() { tn.run([]byte("early "), []byte("headlate "), 4) })
	_ = left.SetDeadline(time.Now().Add(patience))
	_ = far.SetDeadline(time.Now().Add(patience))
	exchange := func(from, to net.Conn, text string) {
		t.Helper()
		ends.Go(func() { _, _ = io.WriteString(from, text) })
		got := make([]byte, len(text))
		if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
			t.Errorf("read %q, %v, want %q", got, err, text)
		}
	}
	got := make([]byte, 9)
	if _, err := io.ReadFull(left, got); err != nil || string(got) != "headlate " {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := io.ReadFull(far, got[:6]); err != nil || string(got[:6]) != "early " {
		t.Errorf("%q, %v", got[:6], err)
	}
	exchange(left, far, strings.Repeat("up", 10000))
	exchange(far, left, strings.Repeat("down", 10000))
	_ = left.Close()
	ends.Wait()
	if tn.up.moved != 6+20000 || tn.down.moved != 5+40000 {
		t.Errorf("moved %d and %d", tn.up.moved, tn.down.moved)
	}
	if cause := tn.cause.Load(); cause != nil {
		t.Errorf("cause %v", cause)
	}
}

// The rest of a WebSocket of which one side has gone is short, whatever the
// idle timeout; other protocols keep theirs.
func TestTunnelCloseGrace(t *testing.T) {
	f := func(framed bool, idle, silent time.Duration, want bool) {
		t.Helper()
		near, far := net.Pipe()
		tn := &tunnel{client: near, endpoint: far, framed: framed, limits: UpgradePolicy{IdleTimeout: idle}, start: time.Now().Add(-silent)}
		tn.timer = time.AfterFunc(time.Hour, func() {})
		defer tn.timer.Stop()
		tn.ending.Store(true)
		tn.check()
		if got := tn.stopped.Load(); got != want {
			t.Errorf("framed %v, idle timeout %v: cut %v after %v, want %v", framed, idle, got, silent, want)
		}
	}
	f(true, 5*time.Minute, closeGrace, true)
	f(true, 0, closeGrace, true)
	f(true, 5*time.Minute, closeGrace/2, false)
	f(true, time.Second, closeGrace/2, true)
	f(false, 5*time.Minute, closeGrace, false)
	f(false, 0, closeGrace, false)
}

// wrapped is a connection of a listener that reads ahead.
type wrapped struct {
	net.Conn
	buffered int
}

func (w wrapped) Unwrap() net.Conn { return w.Conn }
func (w wrapped) Buffered() int    { return w.buffered }

func TestUnwrap(t *testing.T) {
	plain := new(net.TCPConn)
	held := wrapped{plain, 1}
	if got := unwrap(wrapped{wrapped{plain, 0}, 0}); got != plain {
		t.Errorf("got %T", got)
	}
	if got := unwrap(wrapped{held, 0}); got != held {
		t.Errorf("got %T", got)
	}
}
