package upstream

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/telemetry"
)

// pair is an endpoint with the connections that its listener accepted.
func pair(t testing.TB, s Settings) (*Endpoint, net.Listener) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEndpoint("http://"+ln.Addr().String(), balancer.NewEndpoint(1, true), telemetry.NewRegistry("test").Endpoint("u", "e"), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.CloseIdle()
		_ = ln.Close()
	})
	return e, ln
}

func acquire(t testing.TB, e *Endpoint) *Conn {
	t.Helper()
	c, err := e.Acquire(0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func accept(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestAcquireLooks: an idle connection is used again only if it is open and
// nothing has arrived on it.
func TestAcquireLooks(t *testing.T) {
	f := func(name string, settings Settings, reuse bool, between func(e *Endpoint, peer net.Conn), want bool) {
		t.Helper()
		e, ln := pair(t, settings)
		c := acquire(t, e)
		if c.Reused() {
			t.Errorf("%s: a new connection is said to be used", name)
		}
		peer := accept(t, ln)
		first := c.LocalAddr().String()
		c.Release(reuse)
		between(e, peer)
		c = acquire(t, e)
		if got := c.LocalAddr().String() == first; got != want || c.Reused() != want {
			t.Errorf("%s: used again %v, said to be %v; want %v", name, got, c.Reused(), want)
		}
		c.Release(false)
		if open, _ := e.Connections(); open != 0 {
			t.Errorf("%s: %d connections are left open", name, open)
		}
	}
	nothing := func(*Endpoint, net.Conn) {}
	closes := func(_ *Endpoint, peer net.Conn) {
		_ = peer.Close()
		waitReadable(t)
	}
	f("idle", Settings{}, true, nothing, true)
	f("not to be reused", Settings{}, false, nothing, false)
	f("keep-alive off", Settings{DisableKeepAlive: true}, true, nothing, false)
	f("closed by the peer", Settings{}, true, closes, false)
	f("bytes nobody asked for", Settings{}, true, func(_ *Endpoint, peer net.Conn) {
		_, _ = io.WriteString(peer, "x")
		waitReadable(t)
	}, false)
	f("lifetime not over", Settings{MaxLifetime: time.Hour}, true, nothing, true)
	f("lifetime over", Settings{MaxLifetime: time.Nanosecond}, true, nothing, false)
}

// waitReadable lets a round trip over loopback happen, after which what was
// sent before it has arrived.
func waitReadable(t testing.TB) {
	t.Helper()
	e, ln := pair(t, Settings{})
	c := acquire(t, e)
	defer c.Release(false)
	peer := accept(t, ln)
	_, _ = io.WriteString(peer, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestReleaseWhileDraining(t *testing.T) {
	e, ln := pair(t, Settings{})
	c := acquire(t, e)
	accept(t, ln)
	e.Live.Retire()
	c.Release(true)
	if open, _ := e.Connections(); open != 0 {
		t.Errorf("%d connections are kept", open)
	}
}

func TestUnread(t *testing.T) {
	e, ln := pair(t, Settings{})
	c := acquire(t, e)
	defer c.Release(false)
	peer := accept(t, ln)
	f := func(what string, wantData, wantEnded bool) {
		t.Helper()
		waitReadable(t)
		if data, ended := c.Unread(); data != wantData || ended != wantEnded {
			t.Errorf("%s: data %v, ended %v", what, data, ended)
		}
	}
	f("nothing", false, false)
	_, _ = io.WriteString(peer, "x")
	f("data", true, false)
	if _, err := c.br.ReadByte(); err != nil {
		t.Fatal(err)
	}
	f("nothing again", false, false)
	_ = peer.Close()
	f("end", false, true)
}

// TestAnswered lets an endpoint speak before it has the whole request.
func TestAnswered(t *testing.T) {
	f := func(said string, closes, want bool) {
		t.Helper()
		e, ln := pair(t, Settings{})
		c := acquire(t, e)
		defer c.Release(false)
		peer := accept(t, ln)
		_, _ = io.WriteString(peer, said)
		if closes {
			_ = peer.Close()
		}
		waitReadable(t)
		if got := c.Answered(); got != want {
			t.Errorf("%q, closed %v: answered %v", said, closes, got)
		}
	}
	f("", false, false)
	f("", true, true)
	f("HTTP/1.1 413 Content Too Large\r\n\r\n", false, true)
	f("HTTP/1.1 100 Continue\r\n\r\n", false, false)
	f("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", false, false)
	f("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false, true)
	f("HTTP/1.1 101 Switching Protocols\r\n\r\n", false, true)
	f("HTTP/1.1 200 OK\r\nContent-", false, false)
	f("HTTP/1.1 100 Continue\r\n\r\n", true, true)
}

// TestAnsweredInParts has the reply arrive a part at a time: a part is no answer
// and nothing to wait for.
func TestAnsweredInParts(t *testing.T) {
	f := func(want bool, parts ...string) {
		t.Helper()
		e, ln := pair(t, Settings{})
		c := acquire(t, e)
		defer c.Release(false)
		peer := accept(t, ln)
		for i, part := range append(parts, "") {
			_, _ = io.WriteString(peer, part)
			waitReadable(t)
			if got := c.Answered(); got != (want && i >= len(parts)-1) {
				t.Errorf("%q: answered %v after part %d", parts, got, i)
			}
		}
	}
	f(false, "HTTP/1.1 1", "00 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n", "\r\n")
	f(true, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 ", "Too Large\r\n\r\n")
}

func TestAcquireErrors(t *testing.T) {
	e, ln := pair(t, Settings{MaxConnections: 1})
	c := acquire(t, e)
	if _, err := e.Acquire(0); !errors.Is(err, ErrExhausted) {
		t.Errorf("all in use: %v", err)
	}
	c.Release(false)
	_ = ln.Close()
	if _, err := e.Acquire(0); !errors.Is(err, ErrConnect) {
		t.Errorf("refused: %v", err)
	}
	for _, target := range []string{"ftp://a", "a:80", "http://a:b", ""} {
		if _, err := NewEndpoint(target, nil, nil, Settings{}); err == nil {
			t.Errorf("%q is taken for a target", target)
		}
	}
}
