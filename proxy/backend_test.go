package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// backend is a raw TCP server whose script handles one connection at a time
// per goroutine.
type backend struct {
	url    string
	ln     net.Listener
	mu     sync.Mutex
	opened int
	open   map[net.Conn]bool
}

// peer is a connection of a backend.
type peer struct {
	net.Conn
	t      testing.TB
	number int // from 1
	br     *bufio.Reader
}

// newBackend starts a backend. script owns a connection and returns when it is
// done with it, which closes it.
func newBackend(t testing.TB, script func(p *peer)) *backend {
	t.Helper()
	b := &backend{ln: listen(t), open: map[net.Conn]bool{}}
	b.url = "http://" + b.ln.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := b.ln.Accept()
			if err != nil {
				return
			}
			p := &peer{Conn: c, t: t, br: bufio.NewReaderSize(c, 64<<10)}
			b.mu.Lock()
			b.opened++
			p.number = b.opened
			b.open[c] = true
			b.mu.Unlock()
			running.Go(func() {
				script(p)
				b.mu.Lock()
				delete(b.open, c)
				b.mu.Unlock()
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = b.ln.Close()
		b.mu.Lock()
		for c := range b.open {
			_ = c.Close()
		}
		b.mu.Unlock()
		running.Wait()
	})
	return b
}

// connections is how many were accepted.
func (b *backend) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// request reads one request, header and body as they are on the wire. It
// reports false at the end of the connection.
func (p *peer) request() (string, bool) {
	var head bytes.Buffer
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		part, err := p.br.ReadSlice('\n')
		head.Write(part)
		if err != nil {
			return head.String(), false
		}
	}
	lower := strings.ToLower(head.String())
	if strings.Contains(lower, "\r\ntransfer-encoding:") {
		for chunk := 1; ; {
			line, err := p.br.ReadString('\n')
			head.WriteString(line)
			if err != nil {
				return head.String(), false
			}
			if chunk == 0 {
				if line == "\r\n" {
					break
				}
				continue // a trailer field
			}
			size, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 31)
			if err != nil {
				return head.String(), false
			}
			if chunk = int(size); chunk > 0 {
				if _, err := io.CopyN(&head, p.br, int64(chunk)+2); err != nil {
					return head.String(), false
				}
			}
		}
	} else if _, after, ok := strings.Cut(lower, "\r\ncontent-length: "); ok {
		length, _, _ := strings.Cut(after, "\r\n")
		n, err := strconv.Atoi(length)
		if err != nil {
			return head.String(), false
		}
		if _, err := io.CopyN(&head, p.br, int64(n)); err != nil {
			return head.String(), false
		}
	}
	return head.String(), true
}

// write sends text. The gateway may be gone, which its test notices by itself.
func (p *peer) write(text string) { _, _ = io.WriteString(p, text) }

// reply answers with 200 and a body.
func (p *peer) reply(body string) {
	p.write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

// reset closes the connection with RST instead of FIN.
func (p *peer) reset() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Close()
}

// answering is the script of a well-behaved backend.
func answering(body string) func(*peer) {
	return func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
			p.reply(body)
		}
	}
}

// refusing returns the URL of an address where nothing listens.
func refusing(t testing.TB) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return "http://" + ln.Addr().String()
}
