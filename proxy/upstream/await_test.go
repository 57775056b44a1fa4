package upstream

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// hints keeps the interim replies that it is told of.
type hints []string

func (h *hints) Interim(block []byte) { *h = append(*h, string(block)) }

// TestAwaitHead: what is waited for is left where it is, interim replies too.
func TestAwaitHead(t *testing.T) {
	const early, final = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
	for in, want := range map[string]error{
		final + "ok":                            nil,
		early + early + final + "ok":            nil,
		"HTTP/1.1 100 Continue\r\n\r\n" + final: nil,
		"":                                      ErrClosed,
		early:                                   ErrMalformed,
		early + final[:20]:                      ErrMalformed,
		final[:20]:                              ErrMalformed,
		early + "HTTP/1.1 abc\r\n\r\n":          ErrMalformed,
		"HTTP/1.1 101 Switching\r\n\r\n":        ErrMalformed,
		strings.Repeat(early, 2000) + final:     ErrMalformed,
	} {
		c := connOver(strings.NewReader(in))
		var told hints
		c.SetRelay(&told)
		if err := c.AwaitHead(false); !errors.Is(err, want) {
			t.Errorf("%.60q: %v, want %v", in, err, want)
		}
		if len(told) > 0 {
			t.Errorf("%.60q: interim replies were passed on before the race was decided", in)
		}
		if want != nil {
			continue
		}
		var h fasthttp.ResponseHeader
		if r, err := c.ReadReply(&h, false); err != nil || r.Status != 200 || len(told) != strings.Count(in, "103") {
			t.Errorf("%.60q: %+v, %v, told of %d", in, r, err, len(told))
		}
	}
}

// stays is a watcher of a client that stays. Each look is followed by what
// happens while it takes place.
type stays struct{ during func() }

func (s stays) Gone() bool {
	s.during()
	return false
}

// TestInterrupt ends a wait from outside, also in the moment when the watcher is
// asked, after which the wait would go on.
func TestInterrupt(t *testing.T) {
	e, ln := pair(t, Settings{})
	c := acquire(t, e)
	defer accept(t, ln).Close()
	c.Await(time.Now(), time.Time{}, stays{c.Interrupt})
	if err := c.AwaitHead(false); err != ErrTimeout {
		t.Errorf("interrupted during a look: %v", err)
	}
	c.Await(time.Now(), time.Time{}, stays{func() { t.Error("a look after the interruption") }})
	if err := c.AwaitHead(false); err != ErrTimeout {
		t.Errorf("interrupted before: %v", err)
	}
	c.Release(false)
}
