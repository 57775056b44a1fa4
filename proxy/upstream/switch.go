package upstream

import (
	"net"
	"time"
)

// Dial opens a connection for a request that asks to switch protocols. It never
// was in the pool, nor will it be: Release closes it, and the pool's limit does
// not count it. limit and errors are those of Acquire.
func (e *Endpoint) Dial(limit time.Duration) (*Conn, error) {
	nc, err := e.dial("", limit)
	if err != nil {
		return nil, connectError(err)
	}
	c := nc.(*Conn)
	e.dedicated.Add(1)
	c.dedicated = true
	c.br = e.pool.AcquireReader(c)
	return c, nil
}

// Switch ends HTTP on a connection from Dial whose endpoint has answered 101.
// It returns the connection below, which has no deadline any more, and early
// with what the endpoint sent behind its header appended. Only Release may
// follow.
func (c *Conn) Switch(early []byte) (net.Conn, []byte) {
	if n := c.br.Buffered(); n > 0 {
		sent, _ := c.br.Peek(n) // it is there
		early = append(early, sent...)
	}
	c.endpoint.pool.ReleaseReader(c.br)
	c.br = nil
	_ = c.SetDeadline(time.Time{}) // fails only when closed, which the next read reports
	return c.Conn, early
}

// drop is Release for a connection from Dial.
func (c *Conn) drop() {
	if c.br != nil {
		c.endpoint.pool.ReleaseReader(c.br)
		c.br = nil
	}
	if c.dedicated {
		c.dedicated = false
		_ = c.Close() // nothing is left to be written
		c.endpoint.dedicated.Add(-1)
	}
}
