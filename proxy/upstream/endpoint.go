package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/internal/telemetry"
)

// maxReplyHead is the largest reply header block, in bytes.
const maxReplyHead = 32 << 10

// forever is longer than any process runs.
const forever = 10 * 365 * 24 * time.Hour

// Settings are the transport settings of an endpoint. Two endpoints with
// different settings are different endpoints: nothing is shared.
type Settings struct {
	// ConnectTimeout bounds dialling, the TLS handshake included. Zero means
	// no limit.
	ConnectTimeout time.Duration
	// MaxConnections caps connections to the endpoint. Zero means
	// fasthttp.DefaultMaxConnsPerHost.
	MaxConnections int
	// MaxWait is how long an attempt waits for a connection when all are in
	// use. Zero fails at once.
	MaxWait time.Duration
	// IdleTimeout closes a connection unused for that long. Zero keeps it.
	IdleTimeout time.Duration
	// MaxLifetime closes a connection that is older when it is returned. Zero
	// means no limit.
	MaxLifetime time.Duration
	// DisableKeepAlive uses each connection for one request.
	DisableKeepAlive bool
	// ProxyProtocol is the version of the PROXY header that each connection
	// begins with, 1 or 2. It names one client, so it implies
	// DisableKeepAlive. Zero sends none.
	ProxyProtocol int
	// TLS is used when the target's scheme is https. It is not modified.
	TLS *tls.Config
}

// Endpoint is one target of an upstream: its address, its live numbers, its
// connections and its metric handles. It lives across reloads for as long as
// upstream, address and settings stay the same.
type Endpoint struct {
	// Target is the URL as configured, without a path: http://10.0.0.1:3000.
	Target string
	// Host is what a Host field that names the target itself says.
	Host string
	// Address is host:port to dial.
	Address string
	// Live holds weight, health and requests in flight.
	Live *balancer.Endpoint
	// Metrics are the endpoint's handles, resolved once.
	Metrics *telemetry.EndpointMetrics
	// Passive is what requests tell outlier detection.
	Passive *outlier.Passive
	// Breaker is the endpoint's circuit breaker, nil for none.
	Breaker atomic.Pointer[breaker.Breaker]

	settings  Settings
	dialer    net.Dialer
	pool      *fasthttp.HostClient
	dedicated atomic.Int64 // open connections from Dial
}

// NewEndpoint returns an endpoint without connections. The target must be an
// absolute http or https URL.
func NewEndpoint(target string, live *balancer.Endpoint, m *telemetry.EndpointMetrics, s Settings) (*Endpoint, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("target must start with http:// or https://")
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	e := &Endpoint{
		Target:   target,
		Host:     u.Host,
		Address:  net.JoinHostPort(u.Hostname(), port),
		Live:     live,
		Metrics:  m,
		Passive:  outlier.NewPassive(live),
		settings: s,
	}
	if u.Scheme == "https" {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if s.TLS != nil {
			cfg = s.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName = u.Hostname()
		}
		e.settings.TLS = cfg
	} else {
		e.settings.TLS = nil
	}
	if s.ProxyProtocol != 0 {
		e.settings.DisableKeepAlive = true
	}
	idle := s.IdleTimeout
	if idle <= 0 {
		idle = forever // fasthttp would take zero for its own default
	}
	e.pool = &fasthttp.HostClient{
		Addr:                e.Address,
		MaxConns:            s.MaxConnections,
		MaxConnWaitTimeout:  s.MaxWait,
		MaxIdleConnDuration: idle,
		ReadBufferSize:      maxReplyHead,
		ConnPoolStrategy:    fasthttp.LIFO, // hot connections stay hot, spare ones get to expire
		DialTimeout:         e.dial,
	}
	return e, nil
}

// dial opens a connection. timeout, when positive, is what is left of the
// attempt's time. One to be introduced has its TLS handshake after that.
func (e *Endpoint) dial(_ string, timeout time.Duration) (net.Conn, error) {
	if limit := e.settings.ConnectTimeout; limit > 0 && (timeout <= 0 || timeout > limit) {
		timeout = limit
	}
	ctx := context.Background()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	began := time.Now()
	nc, err := e.dialer.DialContext(ctx, "tcp", e.Address)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: nc, endpoint: e, born: time.Now()}
	c.dialled = c.born.Sub(began)
	c.watch(nc)
	if e.settings.TLS != nil {
		tc := tls.Client(nc, e.settings.TLS)
		c.Conn = tc
		if e.Introduces() {
			return c, nil
		}
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return c, nil
}

// Acquire leases a connection for one attempt: an idle one that still looks
// alive, else a new one. limit, when positive, bounds dialling and waiting beyond what the settings allow. The caller ends the
// lease with Conn.Release. Errors wrap ErrConnect, ErrConnectTimeout or
// ErrExhausted.
func (e *Endpoint) Acquire(limit time.Duration) (*Conn, error) {
	for {
		cc, err := e.pool.AcquireConn(limit, e.settings.DisableKeepAlive)
		if err != nil {
			return nil, connectError(err)
		}
		c := cc.Conn().(*Conn)
		if c.give == nil {
			// fasthttp's connection type has no exported name: a closure made
			// once for a connection remembers it.
			c.give = func(reuse bool) {
				if reuse {
					e.pool.ReleaseConn(cc)
				} else {
					e.pool.CloseConn(cc)
				}
			}
		}
		c.reused = !cc.LastUseTime().IsZero()
		if c.reused {
			if !c.clean() {
				e.pool.CloseConn(cc)
				continue
			}
		}
		c.br = e.pool.AcquireReader(c)
		return c, nil
	}
}

// Connections returns how many connections are open, those from Dial included,
// and how many of them are idle in the pool.
func (e *Endpoint) Connections() (open, idle int) {
	return e.pool.ConnsCount() + int(e.dedicated.Load()), e.pool.IdleConnsCount()
}

// TLSConfig returns what a probe must use to reach the target, nil for http.
func (e *Endpoint) TLSConfig() *tls.Config { return e.settings.TLS }

// CloseIdle closes the connections that no request uses. Called when the
// endpoint is retired; connections in use close when their lease ends, since a
// draining endpoint takes none back.
func (e *Endpoint) CloseIdle() { e.pool.CloseIdleConnections() }
