package testkit

import "testing"

func TestMain(m *testing.M) { VerifyMain(m) }

func TestUpstream(t *testing.T) {
	VerifyNone(t)
	u := NewUpstream(t, "up")
	if r := Get(t, u.Addr, "/a?b=c", "X-A: 1"); r.Status != 200 || r.Body != "up\n" || r.Header.Get("X-Upstream") != "up" {
		t.Errorf("answer %+v", r)
	}
	if last := u.Last(); last.RequestURI != "/a?b=c" || last.Header.Get("X-A") != "1" {
		t.Errorf("it saw %s %v", last.RequestURI, last.Header)
	}
	u.SetHealthy(false)
	if r := Get(t, u.Addr, "/health"); r.Status != 503 || u.Requests() != 1 || u.Accepted() != 2 {
		t.Errorf("health %d, %d requests, %d connections", r.Status, u.Requests(), u.Accepted())
	}

	// What hangs ends when it is released; what is left ends with the server.
	c := Dial(t, u.Addr)
	c.Send(t, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
	Eventually(t, Patience, "the request", func() bool { return u.Requests() == 2 })
	u.Stop()
	if !c.Ended(Patience) {
		t.Error("the connection outlives the server")
	}
	if _, err := NewConn(u.Addr); err == nil {
		t.Error("it listens after Stop")
	}
	u.Restart(t)
	u.Release()
	if r := Get(t, u.Addr, "/hang"); r.Body != "up\n" {
		t.Errorf("after a restart: %+v", r)
	}
}
