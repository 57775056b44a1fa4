package upstream

import "time"

// AwaitHead waits until the header block of the final reply has arrived whole
// and is well-formed, and leaves it to ReadReply, which then does not wait. So
// it does with interim replies: they are not passed on before. The connection is
// not one from Dial. head, time limit and errors are those of ReadReply. After
// ErrTimeout it may be called again with more time.
func (c *Conn) AwaitHead(head bool) error {
	for skip := 0; ; {
		block, err := c.peekBlock(skip)
		if err != nil {
			return err
		}
		r, err := judge(block, head)
		if err != nil || r.Status >= 200 {
			return err
		}
		if r.Status == 101 {
			return errUnasked
		}
		skip += len(block)
	}
}

// Interrupt ends whatever waits for the connection, and all that will, as if its
// time were up. Unlike all else it may be called while the connection is in use
// elsewhere. Only Release without reuse may follow.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	_ = c.SetDeadline(longAgo) // fails only when closed, which ends what waits as well
}

// longAgo is a deadline that ends what waits.
var longAgo = time.Unix(1, 0)
