package echo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// InstanceHeader is on every answer and carries Options.Name, so that balancing
// between several instances can be seen.
const InstanceHeader = "x-echo-instance"

const (
	// A proxy keeps its idle connections for a minute or two; the upstream must
	// keep them for longer, or the proxy finds them closed.
	idleTimeout = 5 * time.Minute

	headerLimit     = 64 << 10 // bytes; larger than a gateway in front will let through
	shutdownTimeout = 2 * time.Second

	plainBody = "Hello, World!"
	textPlain = "text/plain; charset=utf-8"
)

// Options are the settings of a Server. The zero value is usable.
type Options struct {
	// Name is this instance's name, sent in InstanceHeader. Empty means
	// "echo-" and the process ID.
	Name string

	// Wait sleeps for d, or until done is closed, and reports whether all of d
	// passed. Nil means real time.
	Wait func(d time.Duration, done <-chan struct{}) bool
}

// Server answers requests as Usage describes. It is safe for concurrent use.
type Server struct {
	name      string
	nameBytes []byte
	wait      func(d time.Duration, done <-chan struct{}) bool
	down      atomic.Bool
	behavior  atomic.Pointer[behavior] // nil for the usual one
}

// New returns a server that is up and waits for Serve.
func New(o Options) *Server {
	if o.Name == "" {
		o.Name = "echo-" + strconv.Itoa(os.Getpid())
	}
	if o.Wait == nil {
		o.Wait = sleep
	}
	return &Server{name: o.Name, nameBytes: []byte(o.Name), wait: o.Wait}
}

// Serve answers on ln until ctx ends, then closes ln, gives open requests two
// seconds and returns nil. It returns an error only when ln stops accepting
// before that. Serve may be called on several listeners at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &fasthttp.Server{
		Handler:                       s.Handle,
		IdleTimeout:                   idleTimeout,
		ReadBufferSize:                headerLimit,
		StreamRequestBody:             true, // an upload is hashed, never kept
		DisablePreParseMultipartForm:  true,
		DisableHeaderNamesNormalizing: true, // headers are shown as they arrived
		NoDefaultServerHeader:         true,
		CloseOnShutdown:               true,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()

	select {
	case err := <-served:
		if err == nil {
			err = net.ErrClosed
		}
		return fmt.Errorf("serve echo: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	// The only errors are the deadline's and the listener's, and neither leaves
	// anything to do: the caller is ending.
	_ = server.ShutdownWithContext(stop)
	<-served //nolint:errcheck // see above
	return nil
}

var instanceHeader = []byte(InstanceHeader)

// Handle answers one request. The 13-byte GET /plain allocates nothing.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetCanonical(instanceHeader, s.nameBytes)

	path := ctx.Path()
	if string(path) == "/health" {
		s.health(ctx)
		return
	}
	if string(path) == "/behavior" && ctx.IsPost() {
		s.behave(ctx)
		return
	}
	if b := s.behavior.Load(); b != nil {
		b.apply(ctx, s)
		return
	}
	s.answer(ctx)
}

// answer is the answer that the request asks for.
func (s *Server) answer(ctx *fasthttp.RequestCtx) {
	hasQuery := len(ctx.URI().QueryString()) > 0
	switch path := ctx.Path(); {
	case string(path) == "/plain" && !hasQuery:
		plain(ctx)
	case string(path) == "/" && !hasQuery && (ctx.IsGet() || ctx.IsHead()):
		ctx.SetContentType(textPlain)
		ctx.SetBodyString(Usage)
	default:
		s.controlled(ctx)
	}
}

func plain(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType(textPlain)
	ctx.SetBodyString(plainBody)
}

// health answers a probe, and changes the answers to come on POST ?up=….
func (s *Server) health(ctx *fasthttp.RequestCtx) {
	if ctx.IsPost() {
		up, err := strconv.ParseBool(string(ctx.QueryArgs().Peek("up")))
		if err != nil {
			badRequest(ctx, errors.New("up: must be true or false"))
			return
		}
		s.down.Store(!up)
	}
	ctx.SetContentType(textPlain)
	if s.down.Load() {
		// The change itself succeeded; only a probe sees the failure.
		if !ctx.IsPost() {
			ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		}
		ctx.SetBodyString("down\n")
		return
	}
	ctx.SetBodyString("up\n")
}

// controlled answers as the query asks, and with the request itself where the
// query asks for no other body.
func (s *Server) controlled(ctx *fasthttp.RequestCtx) {
	c, err := parseControls(ctx.QueryArgs())
	if err != nil {
		badRequest(ctx, err)
		return
	}
	if c.delay > 0 {
		s.wait(c.delay, ctx.Done())
	}
	if c.reset {
		reset(ctx)
		return
	}

	switch {
	case c.events > 0:
		s.paced(ctx, c.interval, c.events, event)
		ctx.SetContentType("text/event-stream")
		ctx.Response.Header.Set("Cache-Control", "no-cache")
	case c.chunked:
		s.paced(ctx, c.interval, c.chunks, c.chunk)
		ctx.SetContentType(textPlain)
	case c.hasSize:
		sized(ctx, c.size)
	case string(ctx.Path()) == "/plain":
		plain(ctx)
	default:
		if err := s.reply(ctx); err != nil {
			badRequest(ctx, err)
			return
		}
	}

	ctx.SetStatusCode(c.status)
	for _, h := range c.headers {
		if strings.EqualFold(h.name, fasthttp.HeaderContentType) {
			ctx.SetContentType(h.value)
			continue
		}
		ctx.Response.Header.Add(h.name, h.value)
	}
	if c.close {
		ctx.SetConnectionClose()
	}
}

// badRequest says what is wrong with the request, and where to read on.
func badRequest(ctx *fasthttp.RequestCtx, err error) {
	ctx.SetContentType(textPlain)
	ctx.SetStatusCode(fasthttp.StatusBadRequest)
	ctx.SetBodyString(err.Error() + "\nGET / without a query lists what can be asked for\n")
}

// reset closes the connection without an answer; over TCP the peer sees RST.
func reset(ctx *fasthttp.RequestCtx) {
	if tcp, ok := ctx.Conn().(*net.TCPConn); ok {
		// Best effort: without it the peer sees an orderly close instead.
		_ = tcp.SetLinger(0)
	}
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(net.Conn) {})
}

func sleep(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}
