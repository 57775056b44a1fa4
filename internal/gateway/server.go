package gateway

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	"github.com/salgue441/velocity/internal/config"
)

// maxUnusedBody stands for "no limit of fasthttp's own" on request bodies:
// they stream, and a limit there would not be one (it is not enforced).
const maxUnusedBody = 1 << 30

// forever stands for "no limit" where fasthttp takes zero for another setting.
const forever = 10 * 365 * 24 * time.Hour

// serverSettings are the settings that fasthttp fixes when a server starts.
type serverSettings struct {
	header, write, idle time.Duration
	headerBytes         int
}

func settingsOf(c *config.Server) serverSettings {
	return serverSettings{
		header:      time.Duration(c.HeaderTimeout),
		write:       time.Duration(c.WriteTimeout),
		idle:        time.Duration(cmp.Or(c.IdleTimeout, config.Duration(forever))),
		headerBytes: int(c.MaxHeaderBytes),
	}
}

// stay is how long a connection waits for its next request at the server, and
// rest is how long without the server's buffers afterwards, zero for not at all.
func (s serverSettings) stay() time.Duration {
	if s.idle < 2*linger {
		return s.idle
	}
	return linger
}

func (s serverSettings) rest() time.Duration { return s.idle - s.stay() }

// writeBuffer is the size of the buffer that answers are written through, in
// bytes. What fits goes out in one system call. Idle connections have none.
const writeBuffer = 20 << 10

// ensureServer puts a server with the wanted settings behind the sockets.
// Connections of the one before stay with it until they end.
func (g *Gateway) ensureServer(want serverSettings) {
	if len(g.servers) > 0 && g.serverSettings == want {
		return
	}
	s := &fasthttp.Server{
		Handler:                      g.proxy.Handle,
		ErrorHandler:                 g.proxy.HandleReadError,
		ExpectHandler:                g.proxy.Expect,
		HeaderReceived:               g.proxy.HeaderReceived,
		ReadTimeout:                  want.header,
		WriteTimeout:                 want.write,
		IdleTimeout:                  want.stay(),
		MaxIdleWorkerDuration:        linger,
		ReadBufferSize:               want.headerBytes,
		WriteBufferSize:              writeBuffer,
		MaxRequestBodySize:           maxUnusedBody,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true, // the upstream's is passed on
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		Logger:                       quiet{g.log},
		ConnState: func(conn net.Conn, state fasthttp.ConnState) {
			switch state {
			case fasthttp.StateIdle, fasthttp.StateActive:
				if c, ok := conn.(*restingConn); ok {
					c.note(state == fasthttp.StateIdle)
				}
			case fasthttp.StateClosed: // also of one that rests, which has no exchange
				g.proxy.ConnClosed(conn)
			}
		},
	}
	g.door.rest.Store(int64(want.rest()))
	gate := newGate()
	g.servers = append(g.servers, s)
	g.serverSettings = want
	g.loops.Go(func() {
		if err := s.Serve(gate); err != nil {
			g.log.Error("serve: the listener ended", zap.Error(err))
		}
	})
	g.door.leadTo(gate)
}

// shutdownServers ends all servers within the context's time.
func (g *Gateway) shutdownServers(ctx context.Context) error {
	var errs []error
	for _, s := range g.servers {
		errs = append(errs, s.ShutdownWithContext(ctx))
	}
	return errors.Join(errs...)
}

// quiet passes fasthttp's own messages, which are about single connections, on
// at debug level.
type quiet struct{ log *zap.Logger }

func (q quiet) Printf(format string, args ...any) { q.log.Sugar().Debugf(format, args...) }
