package gateway

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/internal/config"
)

// socketPlan is the sockets that a configuration wants. Those that are new are
// open already, and nothing else has changed.
type socketPlan struct {
	wanted []wantedSocket // in the order of the configuration
	opened []*acceptor    // those among them that do not run yet
}

type wantedSocket struct {
	*acceptor
	listener *config.Listener
}

// planSockets opens the listeners that a configuration adds.
func (g *Gateway) planSockets(c *config.Config) (*socketPlan, error) {
	have := map[string]*acceptor{}
	for _, a := range g.acceptors() {
		have[a.key] = a
	}
	p := &socketPlan{}
	list := c.Server.Listening()
	for i := range list {
		sockets, err := openSockets(&list[i], func(key string) (socket, bool) {
			if a := have[key]; a != nil {
				return a.socket, true
			}
			return socket{}, false
		}, &g.inherited)
		if err != nil {
			p.abandon()
			field := "server.host, server.port"
			if len(c.Server.Listeners) > 0 {
				field = "server.listeners[" + strconv.Itoa(i) + "]"
			}
			return nil, fmt.Errorf("listen for traffic (%s): %w", field, err)
		}
		for _, s := range sockets {
			a := have[s.key]
			if a == nil {
				a = newAcceptor(s, g.door, func(err error) {
					g.log.Error("accept connection: pausing", zap.String("address", s.address()), zap.Error(err))
				})
				p.opened = append(p.opened, a)
			}
			p.wanted = append(p.wanted, wantedSocket{a, &list[i]})
		}
	}
	return p, nil
}

// abandon closes what was opened for a plan that will not be used.
func (p *socketPlan) abandon() {
	for _, a := range p.opened {
		a.discard()
	}
}

// useSockets puts a plan into force: new sockets accept, those that are not
// wanted any more close, and the connections of all live on.
func (g *Gateway) useSockets(p *socketPlan) {
	wanted := map[*acceptor]bool{}
	list := make([]*acceptor, 0, len(p.wanted))
	for _, w := range p.wanted {
		wanted[w.acceptor] = true
		list = append(list, w.acceptor)
		w.proxies.Store(g.proxyPeers(w.listener))
		if w.file != "" {
			if err := os.Chmod(w.file, os.FileMode(w.listener.Mode)); err != nil {
				g.log.Warn("set permissions of a socket", zap.Error(err))
			}
		}
	}
	before := g.acceptors()
	g.sockets.Store(&list)
	if !g.accepting {
		return
	}
	for _, a := range p.opened {
		g.loops.Go(a.run)
		g.log.Info("listening", zap.String("address", a.address()))
	}
	var gone []*acceptor
	for _, a := range before {
		if !wanted[a] {
			gone = append(gone, a)
			g.log.Info("not listening any more", zap.String("address", a.address()))
		}
	}
	closeAcceptors(gone, false)
}

// closeAcceptors closes sockets at the same time. When they are shared with
// another process, whoever waits in their queues is left to it, and so are
// their files.
func closeAcceptors(list []*acceptor, shared bool) {
	var all sync.WaitGroup
	for _, a := range list {
		all.Go(func() {
			if shared {
				a.close(0)
				return
			}
			a.close(lastCalls)
			a.removeFile()
		})
	}
	all.Wait()
}

func (g *Gateway) proxyPeers(l *config.Listener) *proxyPeers {
	if l.ProxyProtocol == nil {
		return nil
	}
	return &proxyPeers{trusted: l.ProxyProtocol.Trusted, onBad: func(conn net.Conn, err error) {
		g.metrics.ProxyHeaderBad()
		g.log.Debug("close connection", zap.Stringer("peer", conn.RemoteAddr()), zap.Error(err))
	}}
}

// acceptors returns the sockets in use, in the order of the configuration.
func (g *Gateway) acceptors() []*acceptor {
	if list := g.sockets.Load(); list != nil {
		return *list
	}
	return nil
}

// accept starts all sockets. Until then connections wait in the kernel.
func (g *Gateway) accept() {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.accepting = true
	for _, a := range g.acceptors() {
		g.loops.Go(a.run)
	}
}

// closeSockets ends accepting, for good.
func (g *Gateway) closeSockets() {
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	shared := g.handover.othersServe()
	if shared && g.adminLn != nil {
		g.adminLn.Close()
	}
	closeAcceptors(g.acceptors(), shared)
}
