package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/proxyproto"
	"github.com/salgue441/velocity/internal/testkit"
)

// listening are settings with listeners of the test's own.
func listening(listeners string) string {
	return `
server: {listeners: [` + listeners + `], watch: false, shutdown: {delay: 0s, timeout: 5s}}
admin: {port: 0}
observability: {access_log: {enabled: false}}
`
}

// addressesOf are the addresses for traffic, as the management API lists them.
func addressesOf(t *testing.T, g *testkit.Process) []string {
	t.Helper()
	var s struct {
		Listeners []struct{ Name, Address string }
	}
	testkit.Get(t, g.Admin, "/admin/v1/status").JSON(t, &s)
	var out []string
	for _, l := range s.Listeners {
		if l.Name == "gateway" {
			out = append(out, l.Address)
		}
	}
	return out
}

// toldClient is a route whose answer names the client.
const toldClient = "routes: [{path: \"/*\", respond: {headers: {X-Client: \"${client_ip}\"}}}]\n"

// over sends one request over a connection, after some other bytes, and returns
// the status and who the client is to the gateway.
func over(conn net.Conn, before, path string) (status int, client string, err error) {
	defer conn.Close()
	if _, err := io.WriteString(conn, before+"GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	r.Body.Close()
	return r.StatusCode, r.Header.Get("X-Client"), nil
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout(network, address, testkit.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestListenersOfEveryKind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "v.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false) // as a crash leaves it
	stale.Close()

	document := listening(`{address: "127.0.0.1:0"}, {address: "[::1]:0", reuse_port: 3}, {address: "unix:`+path+`", mode: 0600}`) + toldClient
	g, _ := start(t, document)
	addresses := addressesOf(t, g)
	if len(addresses) != 5 || addresses[4] != "unix:"+path || addresses[1] != addresses[3] || g.Addr != addresses[0] {
		t.Fatalf("addresses %q, first %s", addresses, g.Addr)
	}
	f := func(network, address, want string) {
		t.Helper()
		status, client, err := over(dial(t, network, address), "", "/client")
		if err != nil || status != 200 || client != want {
			t.Errorf("%s %s: status %d, client %q, %v; want client %s", network, address, status, client, err, want)
		}
	}
	f("tcp4", addresses[0], "127.0.0.1")
	for range 20 { // whichever of the sockets it comes to
		f("tcp6", addresses[1], "::1")
	}
	f("unix", path, "127.0.0.1")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket file: %v, %v", info, err)
	}

	// Its address is taken now.
	second := testkit.Run(t, nil, "--config", testkit.WriteFile(t, dir, "second.yaml", listening(`{address: "unix:`+path+`"}`)))
	if second.Code != 3 || !strings.Contains(second.Stderr, "listen for traffic (server.listeners[0])") {
		t.Errorf("a second process on the socket: exit code %d, %s", second.Code, second.Stderr)
	}
	f("unix", path, "127.0.0.1")
	if code := g.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

func TestProxyProtocolFromClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logFile, path := filepath.Join(dir, "access.log"), filepath.Join(dir, "v.sock")
	document := strings.Replace(listening(`{address: "127.0.0.1:0", proxy_protocol: {trusted: [127.0.0.0/8]}}, `+
		`{address: "[::1]:0", proxy_protocol: {trusted: [192.0.2.0/24]}}, {address: "unix:`+path+`", proxy_protocol: {}}`),
		"access_log: {enabled: false}", "access_log: {output: "+logFile+"}", 1)
	g, _ := start(t, document+toldClient)
	addresses := addressesOf(t, g)
	trusted, stranger := addresses[0], addresses[1]

	v2 := string(proxyproto.Header{
		Source: netip.MustParseAddrPort("203.0.113.7:4711"), Destination: netip.MustParseAddrPort("198.51.100.1:80"),
	}.AppendV2(nil, true))
	f := func(network, address, before, id, want string) {
		t.Helper()
		status, client, err := over(dial(t, network, address), before, "/"+id)
		if err != nil || status != 200 || client != want {
			t.Errorf("%s: status %d, client %q, %v; want client %s", id, status, client, err, want)
		}
		testkit.Eventually(t, testkit.Patience, "the line of "+id, func() bool {
			text, _ := os.ReadFile(logFile)
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, `"/`+id+`"`) {
					return strings.Contains(line, `"client_ip":"`+want+`"`)
				}
			}
			return false
		})
	}
	f("tcp", trusted, "PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n", "version1", "192.0.2.9")
	f("tcp", trusted, "PROXY TCP6 2001:db8::9 2001:db8::1 4711 80\r\n", "version1-ipv6", "2001:db8::9")
	f("tcp", trusted, "PROXY UNKNOWN\r\n", "unknown", "127.0.0.1")
	f("tcp", trusted, v2, "version2", "203.0.113.7")
	f("unix", path, v2, "unix", "203.0.113.7")
	f("tcp", stranger, "", "stranger", "::1")

	// A stranger's header is a bad request like any other.
	if status, _, err := over(dial(t, "tcp", stranger), "PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n", "/a"); err != nil || status != 400 {
		t.Errorf("a stranger's header: status %d, %v", status, err)
	}
	// What a trusted peer sends without one is closed without an answer.
	bad := func(before string) {
		t.Helper()
		conn := dial(t, "tcp", trusted)
		if _, err := io.WriteString(conn, before); err != nil {
			t.Fatal(err)
		}
		if answer, _ := io.ReadAll(conn); len(answer) != 0 {
			t.Errorf("%q was answered %q", before, answer)
		}
	}
	bad("GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
	bad("PROXY TCP4 192.0.2.9 198.51.100.1 4711 99999\r\n")
	bad(v2[:12] + "\x31" + v2[13:])
	if n := testkit.Scrape(t, g.Admin).Value(t, "velocity_proxy_protocol_errors_total"); n != 3 {
		t.Errorf("%v bad headers are counted, want 3", n)
	}
}

// client does one request after another until it is told to stop, and retries
// nothing. Only a connection that the server has ended in order, before the
// next request, is opened again.
type client struct {
	network, addr string
	// keepAlive uses a connection for many requests, with pause between them.
	keepAlive bool
	pause     time.Duration

	requests atomic.Int64
	failed   error
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil && c.failed == nil {
		conn, err := net.DialTimeout(c.network, c.addr, testkit.Patience)
		if err == nil {
			err = c.use(ctx, conn)
			conn.Close()
		}
		if err != nil {
			c.failed = fmt.Errorf("after %d requests: %w", c.requests.Load(), err)
		}
	}
}

// use makes requests over a connection until it has ended.
func (c *client) use(ctx context.Context, conn net.Conn) error {
	r := bufio.NewReader(conn)
	for ctx.Err() == nil {
		closed, err := exchange(conn, r)
		if err != nil {
			return err
		}
		c.requests.Add(1)
		if closed || !c.keepAlive {
			return nil
		}
		if c.pause == 0 {
			continue
		}
		if ended, err := endsWithin(conn, r, c.pause); ended || err != nil {
			return err
		}
	}
	return nil
}

// endsWithin waits for a time, or until the server ends the connection.
func endsWithin(conn net.Conn, r *bufio.Reader, d time.Duration) (bool, error) {
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, err
	}
	_, err := r.Peek(1)
	switch {
	case err == io.EOF:
		return true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err == nil:
		err = errors.New("an answer to nothing")
	}
	return false, err
}

// exchange does one request; closed tells that the server ends the connection.
func exchange(conn net.Conn, r *bufio.Reader) (closed bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		return false, err
	}
	if _, err := io.WriteString(conn, "GET /which HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != 200 || string(body) != "up\n" && string(body) != "one") {
		err = fmt.Errorf("status %d, body %q", answer.StatusCode, body)
	}
	return answer.Close, err
}

// clientTraffic starts clients, and returns what ends them and checks that none of
// them has met a failure.
func clientTraffic(t *testing.T, clients []*client) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *client, len(clients))
	for _, c := range clients {
		go func() {
			c.run(ctx)
			done <- c
		}()
	}
	return func() {
		t.Helper()
		cancel()
		for range clients {
			c := <-done
			if c.failed != nil {
				t.Errorf("%s %s, keep-alive %v, pause %v: %v", c.network, c.addr, c.keepAlive, c.pause, c.failed)
			} else if c.requests.Load() == 0 {
				t.Errorf("%s %s: not one request was made", c.network, c.addr)
			}
		}
	}
}

func TestReloadOfListeners(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "v.sock")
	const stays = `{address: "127.0.0.1:0"}`
	g, file := start(t, listening(stays)+answering("one"))
	idle := testkit.Dial(t, g.Addr)
	idle.Do(t, "GET", "/which")
	end := clientTraffic(t, []*client{{network: "tcp", addr: g.Addr, keepAlive: true}, {network: "tcp", addr: g.Addr}})

	for range 5 {
		testkit.ReplaceFile(t, file, listening(stays+`, {address: "[::1]:0"}, {address: "unix:`+path+`"}`)+answering("one"))
		g.Signal(t, syscall.SIGHUP)
		testkit.Eventually(t, testkit.Patience, "three listeners", func() bool { return len(addressesOf(t, g)) == 3 })
		added := addressesOf(t, g)
		lives := testkit.Dial(t, added[1])
		lives.Do(t, "GET", "/which")
		// Its one connection lives on.
		endAdded := clientTraffic(t, []*client{{network: "unix", addr: path, keepAlive: true}})
		testkit.ReplaceFile(t, file, listening(stays)+answering("one"))
		g.Signal(t, syscall.SIGHUP)
		testkit.Eventually(t, testkit.Patience, "one listener", func() bool { return len(addressesOf(t, g)) == 1 })
		testkit.Eventually(t, testkit.Patience, "the added one to refuse", func() bool {
			conn, err := net.Dial("tcp", added[1])
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		if r := lives.Do(t, "GET", "/which"); r.Status != 200 || r.Close {
			t.Errorf("a connection of a listener that is gone: status %d, close %v", r.Status, r.Close)
		}
		testkit.Eventually(t, testkit.Patience, "the socket file to go", func() bool {
			_, err := os.Lstat(path)
			return errors.Is(err, os.ErrNotExist)
		})
		endAdded()
	}
	end()
	if r := idle.Do(t, "GET", "/which"); r.Status != 200 {
		t.Errorf("status %d", r.Status)
	}
}

// A listener that cannot be opened refuses the reload, and nothing of it stays.
func TestReloadOfAListenerThatFails(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "v.sock")
	g, file := start(t, listening(`{address: "127.0.0.1:0"}`)+answering("one"))
	testkit.ReplaceFile(t, file, listening(`{address: "127.0.0.1:0"}, {address: "unix:`+path+`"}, {address: "`+taken.Addr().String()+`"}`)+answering("two"))
	g.Signal(t, syscall.SIGHUP)
	line := g.WaitLog(t, "configuration refused, the running one stays")
	if !strings.Contains(line.Error, "server.listeners[2]") || !strings.Contains(line.Error, "address already in use") {
		t.Errorf("error %q", line.Error)
	}
	if r := testkit.Get(t, g.Addr, "/which"); r.Body != "one" {
		t.Errorf("answer %q", r.Body)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket that was opened has left its file: %v", err)
	}
}

func TestSocketsOfSystemd(t *testing.T) {
	t.Parallel()
	named, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	byAddress, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer byAddress.Close()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	l := newLineage(t, listening(`{address: "fd:web"}, {address: "`+byAddress.Addr().String()+`"}`)+answering("one"))

	// The shell becomes the gateway, and so knows its process ID.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" --config "$1"`, os.Getenv("VELOCITY_BIN"), l.config)
	for _, ln := range []net.Listener{named, byAddress} {
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	l.run(t, cmd, "LISTEN_FDS=2", "LISTEN_FDNAMES=web:other", "NOTIFY_SOCKET="+notify.LocalAddr().String(), "WATCHDOG_USEC=100000")
	hear := func(want string) {
		t.Helper()
		if err := notify.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				t.Fatalf("waited in vain to be told %q: %v", want, err)
			}
			if strings.Contains("\n"+string(buf[:n])+"\n", "\n"+want) {
				return
			}
		}
	}
	answers := func() {
		t.Helper()
		for _, ln := range []net.Listener{named, byAddress} {
			if r := testkit.Get(t, ln.Addr().String(), "/which"); r.Body != "one" {
				t.Errorf("answer %q", r.Body)
			}
		}
	}
	hear(fmt.Sprintf("READY=1\nMAINPID=%d\n", cmd.Process.Pid))
	hear("WATCHDOG=1\n")
	answers()
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1\n")

	// Sockets by name are handed over, too; systemd learns who has them.
	if err := cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	next := l.wait(t, "ready", 2)
	hear(fmt.Sprintf("MAINPID=%d\n", next.PID))
	hear(fmt.Sprintf("READY=1\nMAINPID=%d\n", next.PID))
	hear("WATCHDOG=1\n")
	if err := cmd.Wait(); err != nil {
		t.Errorf("gateway: %v", err)
	}
	answers()
	l.killLast(t)
	hear("STOPPING=1\n")
}
