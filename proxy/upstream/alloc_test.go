//go:build !race

package upstream

import (
	"bytes"
	"io"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestAllocReadReply(t *testing.T) {
	f := func(reply string) {
		t.Helper()
		b := []byte(reply)
		r := bytes.NewReader(b)
		c := connOver(r)
		var h fasthttp.ResponseHeader
		p := make([]byte, 8<<10)
		op := func() {
			r.Reset(b)
			c.br.Reset(c.Conn)
			if _, err := c.ReadReply(&h, false); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := c.ReadBody(p); err == io.EOF {
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
		}
		op()
		if n := testing.AllocsPerRun(200, op); n != 0 {
			t.Errorf("%.40q allocates %v times", reply, n)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nConnection: keep-alive\r\n"
	f(ok + "Content-Length: 5\r\n\r\nhello")
	f(ok + "Date: Mon, 02 Jan 2034 03:04:05 GMT\r\nContent-Length: 5\r\n\r\nhello")
	f(ok + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nServer: x\r\n\r\nuntil close")
	f("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n")
}

func TestAllocAcquire(t *testing.T) {
	e, ln := pair(t, Settings{})
	c := acquire(t, e)
	accept(t, ln)
	c.Release(true)
	op := func() {
		c, err := e.Acquire(0)
		if err != nil || !c.Reused() || c.Answered() {
			t.Fatal(err)
		}
		c.Release(true)
	}
	op()
	if n := testing.AllocsPerRun(200, op); n != 0 {
		t.Errorf("allocates %v times", n)
	}
}
