package proxy

import (
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// InFlight counts the requests under way of the gateway or of one route. It
// outlives snapshots, so that a reload changes the maximum and not the count;
// requests that began without a maximum are not counted.
type InFlight struct{ n atomic.Int64 }

// Now is the count.
func (f *InFlight) Now() int64 { return f.n.Load() }

// enter counts a request in, unless there are as many as may be. leave must
// follow when it reports true.
func (f *InFlight) enter(most int) bool {
	if f.n.Add(1) <= int64(most) {
		return true
	}
	f.n.Add(-1)
	return false
}

func (f *InFlight) leave() { f.n.Add(-1) }

// held is what a request has entered and must leave at its end.
type held struct {
	gateway, route *InFlight
	upstream       admission
}

// enterLimits applies the limits on requests in flight, once the route is known and
// before any work is done for it. What the gateway answers itself, such as
// /health, comes before and is never refused.
func (x *Exchange) enterLimits() bool {
	if x.server.shedding.Load() {
		return x.refuse(ErrMemory)
	}
	if most := x.snap.MaxInFlight; most > 0 {
		if !x.server.inFlight.enter(most) {
			return x.refuse(ErrOverloaded)
		}
		x.held.gateway = &x.server.inFlight
	}
	if r := x.Route; r.MaxInFlight > 0 {
		if !r.InFlight.enter(r.MaxInFlight) {
			return x.refuse(ErrRouteInFlight)
		}
		x.held.route = r.InFlight
	}
	return x.readDeadline()
}

// leave gives back what enterLimits and enterUpstream took. now is in
// nanoseconds, as the server has them. A second call does nothing.
func (h *held) leave(now int64) {
	h.upstream.leave(now)
	if h.route != nil {
		h.route.leave()
	}
	if h.gateway != nil {
		h.gateway.leave()
	}
	*h = held{}
}

// InFlight is how many requests are under way, as far as Snapshot.MaxInFlight
// has them counted.
func (s *Server) InFlight() int64 { return s.inFlight.Now() }

// Shed makes the server refuse requests for routes and close connections after
// each answer, or ends that.
func (s *Server) Shed(on bool) { s.shedding.Store(on) }

// spent reports whether a connection has had its share and is to be closed
// after this answer.
func (s *Server) spent(ctx *fasthttp.RequestCtx, snap *Snapshot) bool {
	if s.draining.Load() || s.shedding.Load() {
		return true
	}
	if snap.MaxRequests <= 0 && snap.MaxAge <= 0 {
		return false
	}
	born, requests := ctx.ConnTime(), ctx.ConnRequestNum()
	if c, ok := ctx.Conn().(historian); ok {
		var before uint64
		born, before = c.History()
		requests += before
	}
	if snap.MaxRequests > 0 && requests >= uint64(snap.MaxRequests) {
		return true
	}
	return snap.MaxAge > 0 && ctx.Time().Sub(born) >= spread(snap.MaxAge, uint64(born.UnixNano()))
}

// historian is a connection that was with a server before: when it was opened,
// and how many requests it had until this stay.
type historian interface {
	History() (born time.Time, requests uint64)
}

// spread takes up to a tenth from an age, by the connection, so that what was
// opened together is not closed together.
func spread(age time.Duration, connection uint64) time.Duration {
	const parts = 1024
	part := connection * 0x9E3779B97F4A7C15 >> 54 // Fibonacci hashing: 0 to 1023
	return age - age/10/parts*time.Duration(part)
}
