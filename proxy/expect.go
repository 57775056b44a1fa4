package proxy

import (
	"time"

	"github.com/valyala/fasthttp"
)

// Expect serves the beginning of a request whose client waits for 100 Continue
// before it sends its body: it is fasthttp's ExpectHandler. Whatever can refuse
// the request without its body does so first. If nothing does, the exchange
// waits in the context for Handle, fasthttp sends the 100, and the line goes on
// where it was.
func (s *Server) Expect(ctx *fasthttp.RequestCtx) (status int) {
	x := s.acquire(ctx)
	if x == nil {
		writeError(ctx, ErrNotReady, nil, nil)
		return ErrNotReady.Status
	}
	status = ErrPanic.Status //nolint:wastedassign // what is returned should something panic
	defer s.recoverPanic(x)
	x.start = time.Now() // fasthttp has not set that of this request yet
	if d := x.snap.WriteTimeout; d > 0 {
		// The deadline still is that of the last response, which may have
		// passed while the connection was idle.
		_ = ctx.Conn().SetWriteDeadline(x.start.Add(d)) // fails only when closed, as the write will
	}
	if x.admit() {
		ctx.SetUserValue(waitingKey{}, (*waiting)(x))
		return fasthttp.StatusContinue
	}
	x.finish()
	status = ctx.Response.StatusCode()
	s.close(x)
	return status
}

type waitingKey struct{}

// waiting is an exchange that was admitted and waits for its body. fasthttp
// closes it when the connection ends before Handle takes it.
type waiting Exchange

// Close ends an exchange whose client left while it was to send the body.
func (w *waiting) Close() error {
	x := (*Exchange)(w)
	x.gone = true
	x.leaveLimits()
	x.leavePhases()
	x.server.close(x)
	return nil
}

// takeWaiting returns the exchange that Expect left for this request, nil if
// there is none.
func takeWaiting(ctx *fasthttp.RequestCtx) *Exchange {
	w, ok := ctx.UserValue(waitingKey{}).(*waiting)
	if !ok {
		return nil
	}
	ctx.RemoveUserValue(waitingKey{})
	return (*Exchange)(w)
}
