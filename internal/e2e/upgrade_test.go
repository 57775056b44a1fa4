package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// chat is a WebSocket server that sends each message back, unmasked, and closes
// as RFC 6455 section 7.1.1 has it. It is written over bare sockets.
type chat struct {
	ln   net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
}

func newChat(t *testing.T) *chat {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed by the clean-up
	if err != nil {
		t.Fatal(err)
	}
	s := &chat{ln: ln, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[c] = true
			s.mu.Unlock()
			running.Go(func() {
				defer func() {
					s.mu.Lock()
					delete(s.open, c)
					s.mu.Unlock()
					_ = c.Close()
				}()
				s.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		for c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *chat) url() string { return "http://" + s.ln.Addr().String() }

// connections is how many are open.
func (s *chat) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *chat) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, 512)
	request, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if _, err := fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n%s",
		base64.StdEncoding.EncodeToString(sum[:]), frame(0x1, []byte("welcome"), nil)); err != nil {
		return
	}
	for {
		opcode, payload, err := readFrame(r)
		if err != nil {
			return
		}
		if _, err := c.Write(frame(opcode, payload, nil)); err != nil || opcode == 0x8 {
			return
		}
	}
}

// frame is a final frame (RFC 6455 section 5.2), masked if there is a mask.
func frame(opcode byte, payload, mask []byte) []byte {
	b := []byte{0x80 | opcode, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if mask == nil {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func readFrame(r *bufio.Reader) (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1] & 0x7f)
	if n > 125 {
		size := make([]byte, 2)
		if n == 127 {
			size = make([]byte, 8)
		}
		if _, err := io.ReadFull(r, size); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(append(make([]byte, 8-len(size)), size...))
	}
	var mask [4]byte
	masked := head[1]&0x80 != 0
	if masked {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	if masked {
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
	}
	return head[0] & 0x0f, payload, nil
}

// socket is a client's WebSocket.
type socket struct {
	net.Conn
	r *bufio.Reader
}

// openSocket does a handshake, with a first message right behind it, and reads
// both greetings.
func openSocket(addr string) (*socket, error) {
	c, err := net.DialTimeout("tcp", addr, testkit.Patience) //nolint:noctx // bounded by its own time limit
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: c, r: bufio.NewReaderSize(c, 512)}
	if err := s.greet(addr); err != nil {
		_ = c.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) greet(addr string) error {
	if err := s.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return err
	}
	request := "GET /chat HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := s.Write(append([]byte(request), frame(0x1, []byte("early"), []byte("mask"))...)); err != nil {
		return err
	}
	response, err := http.ReadResponse(s.r, nil)
	if err != nil {
		return err
	}
	_ = response.Body.Close() // a 101 has none
	if response.StatusCode != 101 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	for _, want := range []string{"welcome", "early"} {
		if _, got, err := readFrame(s.r); err != nil || string(got) != want {
			return fmt.Errorf("message %q, %w, want %q", got, err, want)
		}
	}
	return s.SetDeadline(time.Time{})
}

// say sends a message and waits for it to come back.
func (s *socket) say(message []byte) error {
	if err := s.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return err
	}
	if _, err := s.Write(frame(0x2, message, []byte{1, 2, 3, 4})); err != nil {
		return err
	}
	if _, got, err := readFrame(s.r); err != nil || !bytes.Equal(got, message) {
		return fmt.Errorf("%d bytes came back of %d: %w", len(got), len(message), err)
	}
	return nil
}

func (s *socket) bye() error {
	if _, err := s.Write(frame(0x8, []byte{0x03, 0xe8}, []byte{1, 2, 3, 4})); err != nil {
		return err
	}
	if opcode, _, err := readFrame(s.r); err != nil || opcode != 0x8 {
		return fmt.Errorf("opcode %d, %w in answer to close", opcode, err)
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w after close", err)
	}
	return s.Close()
}

func mustOpen(t *testing.T, g *testkit.Process) *socket {
	t.Helper()
	s, err := openSocket(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	up := newChat(t)
	file := filepath.Join(t.TempDir(), "access.log")
	g, _ := start(t, strings.Replace(settings, "access_log: {enabled: false}", "access_log: {output: "+file+"}", 1)+
		"upstreams: [{name: chat, targets: [{url: "+up.url()+"}]}]\nroutes: [{name: chat, path: /chat, upstream: chat}]\n")
	s := mustOpen(t, g)
	big := make([]byte, 1<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	for _, message := range [][]byte{nil, []byte("hello"), big[:125], big[:126], big[:65536], big} {
		if err := s.say(message); err != nil {
			t.Fatal(err)
		}
	}
	m := testkit.Scrape(t, g.Admin)
	for series, want := range map[string]float64{
		`velocity_upgrades_open{route="chat"}`:                                              1,
		`velocity_requests_in_flight{route="chat"}`:                                         1,
		`velocity_connections_open`:                                                         1,
		`velocity_upstream_connections_open{upstream="chat",endpoint="` + up.url() + `"}`:   1,
		`velocity_upstream_requests_in_flight{upstream="chat",endpoint="` + up.url() + `"}`: 1,
	} {
		if got := m.Value(t, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if err := s.bye(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, testkit.Patience, "the tunnel to end", func() bool {
		m = testkit.Scrape(t, g.Admin)
		return m.Value(t, `velocity_upgrades_open{route="chat"}`) == 0 && m.Value(t, "velocity_connections_open") == 0 &&
			m.Value(t, `velocity_requests_in_flight{route="chat"}`) == 0
	})
	g.Stop(t)
	var line struct {
		Status   int
		Route    string
		Reason   string
		BytesIn  int64 `json:"bytes_in"`
		BytesOut int64 `json:"bytes_out"`
	}
	if err := json.Unmarshal([]byte(testkit.ReadFile(t, file)), &line); err != nil {
		t.Fatal(err)
	}
	if line.Status != 101 || line.Route != "chat" || line.Reason != "" || line.BytesIn < 1<<20 || line.BytesOut < 1<<20 {
		t.Errorf("access log: %+v", line)
	}
}

// A reload leaves open connections alone, even one that takes their route and
// their server away.
func TestReloadKeepsUpgrades(t *testing.T) {
	t.Parallel()
	up := newChat(t)
	g, path := start(t, unwatched+"routes: [{name: chat, path: /chat, targets: [{url: "+up.url()+"}]}]\n")
	var sockets []*socket
	for range 50 {
		sockets = append(sockets, mustOpen(t, g))
	}
	for i, document := range []string{answering("one"), answering("two"), answering("three")} {
		testkit.ReplaceFile(t, path, unwatched+document)
		g.Signal(t, syscall.SIGHUP)
		waitAnswer(t, g, []string{"one", "two", "three"}[i])
		for _, s := range sockets {
			if err := s.say([]byte("still here")); err != nil {
				t.Fatalf("after reload %d: %v", i+1, err)
			}
		}
	}
	if n := up.connections(); n != 50 {
		t.Errorf("the server has %d connections, want 50", n)
	}
	for _, s := range sockets {
		if err := s.bye(); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, testkit.Patience, "the connections to end", func() bool {
		return testkit.Scrape(t, g.Admin).Value(t, "velocity_connections_open") == 0 && up.connections() == 0
	})
}

// Open connections hold up a stop until they end, but not beyond its time.
func TestDrainUpgrades(t *testing.T) {
	t.Parallel()
	up := newChat(t)
	f := func(timeout string, end bool, atLeast, atMost time.Duration) {
		t.Helper()
		g, _ := start(t, draining("0s", timeout)+"routes: [{name: chat, path: /chat, targets: [{url: "+up.url()+"}]}]\n")
		s := mustOpen(t, g)
		g.Signal(t, syscall.SIGTERM)
		g.WaitLog(t, "draining: waiting for requests under way")
		began := time.Now()
		if err := s.say([]byte("still here")); err != nil {
			t.Error(err)
		}
		if end {
			if err := s.bye(); err != nil {
				t.Error(err)
			}
		} else if _, err := s.r.ReadByte(); err != io.EOF {
			t.Errorf("the client saw %v at the end", err)
		}
		if code := g.Wait(t, 2*testkit.Patience); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if took := time.Since(began); took < atLeast || took > atMost {
			t.Errorf("timeout %s: stopped after %v, want %v to %v", timeout, took, atLeast, atMost)
		}
		if cut := len(g.Log("drain: time is up, closing what is under way")); (cut == 1) == end {
			t.Errorf("timeout %s: %d lines about a cut", timeout, cut)
		}
		testkit.Eventually(t, testkit.Patience, "the server to be let go", func() bool { return up.connections() == 0 })
	}
	f("60s", true, 0, testkit.Patience)
	f("1500ms", false, 1200*time.Millisecond, testkit.Patience)
}

// Memory of idle WebSockets, and that all of it is given back.
func TestUpgradeMemory(t *testing.T) {
	const sockets = 2000
	up := newChat(t)
	g, _ := start(t, settings+"routes: [{name: chat, path: /chat, targets: [{url: "+up.url()+"}]}]\n")
	mustOpen(t, g) // what the first one needs once
	goroutines := func() float64 { return testkit.Scrape(t, g.Admin).Value(t, "go_goroutines") }
	before, files, running := testkit.RSS(t, g.PID()), testkit.FDs(t, g.PID()), goroutines()

	open := make([]*socket, sockets)
	var dialling sync.WaitGroup
	for part := range 8 {
		dialling.Go(func() {
			for i := part; i < sockets; i += 8 {
				s, err := openSocket(g.Addr)
				if err != nil {
					t.Error(err)
					return
				}
				open[i] = s
			}
		})
	}
	dialling.Wait()
	if t.Failed() {
		return
	}
	after := testkit.RSS(t, g.PID())
	each := (after - before) / sockets
	t.Logf("%d idle WebSockets: %.1f KiB resident and %.1f goroutines each (%.1f MiB before, %.1f MiB after)", sockets,
		float64(each)/1024, (goroutines()-running)/sockets, float64(before)/(1<<20), float64(after)/(1<<20))
	if each > 32<<10 {
		t.Errorf("%d bytes resident for each idle WebSocket, want at most 32 KiB", each)
	}
	for _, s := range open {
		_ = s.Close()
	}
	testkit.Eventually(t, 2*testkit.Patience, "files and goroutines to be given back", func() bool {
		return testkit.FDs(t, g.PID()) <= files+2 && goroutines() <= running+64 && up.connections() == 1
	})
}
