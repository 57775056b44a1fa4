package upstream

// Await waits until the header block of the final reply has arrived whole and
// is well-formed, and leaves it to ReadReply, which then does not wait. Interim
// replies are passed over. head and errors are those of ReadReply. After
// ErrTimeout it may be called again with a later read deadline.
func (c *Conn) Await(head bool) error {
	for {
		block, err := c.peekBlock()
		if err != nil {
			return err
		}
		r, err := judge(block, head)
		if err != nil || r.Status >= 200 || r.Status == 101 {
			return err
		}
		if _, err := c.br.Discard(len(block)); err != nil {
			return c.readError(err, ErrClosed)
		}
	}
}
