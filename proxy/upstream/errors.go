package upstream

import (
	"errors"
	"fmt"
	"net"

	"github.com/valyala/fasthttp"
)

// What an attempt can end with. The line turns them into what a client sees.
var (
	// ErrConnect: no connection could be opened; nothing was sent.
	ErrConnect = errors.New("connect to endpoint")
	// ErrConnectTimeout: as ErrConnect, for lack of time.
	ErrConnectTimeout = errors.New("connect to endpoint: timed out")
	// ErrExhausted: all connections stayed in use for as long as an attempt
	// may wait; nothing was sent.
	ErrExhausted = errors.New("acquire connection: all in use")
	// ErrClosed: the endpoint closed or reset the connection before a whole
	// reply header arrived.
	ErrClosed = errors.New("read reply: connection closed by endpoint")
	// ErrTimeout: the endpoint made no progress within its time limit.
	ErrTimeout = errors.New("exchange with endpoint: timed out")
	// ErrMalformed: the reply is not well-formed HTTP/1 (RFC 9112). Errors
	// that wrap it say what is wrong, without the reply's bytes.
	ErrMalformed = errors.New("malformed reply")
	// ErrAbandoned: the watcher of a wait was gone, see Conn.Await.
	ErrAbandoned = errors.New("wait for endpoint: nobody wants the reply any more")
	// ErrTruncated: the endpoint closed the connection inside a body.
	ErrTruncated = errors.New("read reply body: connection closed by endpoint")
)

func connectError(err error) error {
	switch {
	case errors.Is(err, fasthttp.ErrNoFreeConns), errors.Is(err, fasthttp.ErrTimeout):
		return ErrExhausted
	case isTimeout(err):
		return fmt.Errorf("%w: %w", ErrConnectTimeout, err)
	default:
		return fmt.Errorf("%w: %w", ErrConnect, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
