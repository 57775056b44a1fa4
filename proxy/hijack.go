package proxy

import (
	"net"
	"sync"
	"sync/atomic"
)

// hijacks are the connections that were taken from fasthttp, with what ends
// their exchange should fasthttp never hand them over.
type hijacks struct {
	mu      sync.Mutex
	pending map[net.Conn]func()
	waiting atomic.Int32 // len(pending)
	onEnd   func(net.Conn)
}

// NotifyEnded has f called when a connection ends that fasthttp has reported as
// StateHijacked and no longer counts. Call it before serving.
func (s *Server) NotifyEnded(f func(net.Conn)) { s.hijacks.onEnd = f }

// ConnClosed must be called when fasthttp reports StateClosed: should a client
// have gone before its connection could be handed over, its exchange ends here.
func (s *Server) ConnClosed(c net.Conn) {
	if s.hijacks.waiting.Load() == 0 {
		return
	}
	if abandon := s.hijacks.take(c); abandon != nil {
		abandon()
	}
}

// hijack has carry called with the client's connection, on a goroutine of its
// own, once fasthttp has sent what came before. The connection closes when
// carry returns. If fasthttp cannot send, abandon is called instead.
func (s *Server) hijack(x *Exchange, carry func(net.Conn), abandon func()) {
	h, conn := &s.hijacks, x.Ctx.Conn()
	h.mu.Lock()
	if h.pending == nil {
		h.pending = map[net.Conn]func(){}
	}
	h.pending[conn] = abandon
	h.mu.Unlock()
	h.waiting.Add(1)
	x.Ctx.HijackSetNoResponse(true)
	x.Ctx.Hijack(func(c net.Conn) {
		h.take(conn)
		carry(c)
		if h.onEnd != nil {
			h.onEnd(conn)
		}
	})
}

func (h *hijacks) take(c net.Conn) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	abandon := h.pending[c]
	if abandon != nil {
		delete(h.pending, c)
		h.waiting.Add(-1)
	}
	return abandon
}
