package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/upstream"
)

// ErrForced is returned by Run when a second signal ended the wait for
// requests under way.
var ErrForced = errors.New("stop gateway: ended by a second signal, with requests under way")

// Options are what a gateway is made from. Flags end up here; everything that
// a reload may change is in the configuration.
type Options struct {
	// ConfigPath is the configuration file.
	ConfigPath string
	// Env is the environment, as os.Environ gives it.
	Env []string
	// Version and Commit are shown in status and metrics.
	Version, Commit string
	// Log receives events. Nil means stderr.
	Log zapcore.WriteSyncer
}

// Gateway is the program. New loads and builds, Run serves until it is told to
// stop.
type Gateway struct {
	options  Options
	log      *zap.Logger
	level    zap.AtomicLevel
	registry *telemetry.Registry
	metrics  *telemetry.GatewayMetrics
	proxy    *proxy.Server
	checker  *health.Checker
	watch    *watcher
	started  time.Time

	applying   sync.Mutex // held by Reload; guards living, servers and serverSettings
	living     living
	running    atomic.Pointer[running]
	lastReload atomic.Pointer[reloadTry]

	acceptor       *acceptor
	servers        []*fasthttp.Server
	serverSettings serverSettings

	admin        *fasthttp.Server
	adminLn      net.Listener
	adminServing atomic.Pointer[fasthttp.RequestHandler]

	ready    atomic.Bool
	draining atomic.Bool
	loops    sync.WaitGroup
	stopped  chan struct{} // closed when Run ends: loops return
}

// running is the configuration that serves.
type running struct {
	plan      *plan
	accessLog *accessLog
	at        time.Time
	revision  uint64
	since     map[*upstream.Endpoint]time.Time // when each endpoint became part of what runs
}

// New loads the configuration and builds a gateway from it. It opens no
// socket. The error is config.Problems when the document is bad.
func New(o Options) (*Gateway, error) {
	c, err := config.Load(o.ConfigPath, o.Env)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = zapcore.Lock(os.Stderr)
	}
	log, level, err := telemetry.NewLogger(c.Observability.Log.Level, c.Observability.Log.Format, o.Log)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		options: o, log: log, level: level,
		registry: telemetry.NewRegistry(o.Version),
		living:   newLiving(),
		started:  time.Now(),
		stopped:  make(chan struct{}),
	}
	g.metrics = g.registry.Gateway()
	g.proxy = proxy.NewServer(g.metrics, func(recovered any, id string) {
		g.log.Error("panic while serving a request",
			zap.String("request_id", id), zap.Any("panic", recovered), zap.ByteString("stack", debug.Stack()))
	})
	g.proxy.NotifyEnded(func(net.Conn) { g.acceptor.ended() })
	g.proxy.NotifyBadReply(func(target, id string, cause error) {
		g.log.Debug("an upstream's reply is not well-formed",
			zap.String("target", target), zap.String("request_id", id), zap.Error(cause))
	})
	g.checker = health.New(health.Options{OnChange: g.healthChanged})
	if g.watch, err = newWatcher(log); err != nil {
		log.Warn("watch configuration: changes need SIGHUP", zap.Error(err))
	}
	if err := g.listen(c); err != nil {
		g.abandon()
		return nil, err
	}
	if err := g.start(c); err != nil {
		g.abandon()
		return nil, err
	}
	return g, nil
}

// abandon ends what New has begun when it cannot finish.
func (g *Gateway) abandon() {
	if g.acceptor != nil {
		g.acceptor.ln.Close()
	}
	if g.adminLn != nil {
		g.adminLn.Close()
	}
	if g.watch != nil {
		g.watch.close()
	}
	g.checker.Close()
}

// start applies the first configuration.
func (g *Gateway) start(c *config.Config) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.watchFiles(c)
	if err := g.apply(context.Background(), c); err != nil {
		return err
	}
	g.metrics.Reloaded(telemetry.ReloadApplied, time.Now())
	return nil
}

// listen opens the sockets, so that a port that is taken is found before
// anything else happens. Connections wait until the first configuration is up.
func (g *Gateway) listen(c *config.Config) error {
	ln, err := net.Listen(network(c.Server.Host), net.JoinHostPort(c.Server.Host, strconv.Itoa(c.Server.Port)))
	if err != nil {
		return fmt.Errorf("listen for traffic (server.host, server.port): %w", err)
	}
	g.acceptor = newAcceptor(ln, g.metrics, func(err error) {
		g.log.Error("accept connection: pausing", zap.Error(err))
	})
	if !c.Admin.Enabled {
		return nil
	}
	admin, err := net.Listen(network(c.Admin.Host), net.JoinHostPort(c.Admin.Host, strconv.Itoa(c.Admin.Port)))
	if err != nil {
		return fmt.Errorf("listen for management (admin.host, admin.port): %w", err)
	}
	if c.Admin.TLS.CertFile != "" {
		cfg, err := adminTLS(&c.Admin.TLS)
		if err != nil {
			admin.Close()
			return err
		}
		admin = tls.NewListener(admin, cfg)
	}
	g.adminLn = admin
	return nil
}

// network keeps 0.0.0.0 to IPv4: "tcp" would listen on IPv6 as well.
func network(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

func adminTLS(c *config.AdminTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load admin.tls: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if c.ClientCAFile != "" {
		pem, err := os.ReadFile(c.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("load admin.tls.client_ca_file: %w", err)
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("load admin.tls.client_ca_file: no PEM certificate in %s", c.ClientCAFile)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// Addr returns the address that takes traffic.
func (g *Gateway) Addr() net.Addr { return g.acceptor.ln.Addr() }

// AdminAddr returns the management address, nil when it is off.
func (g *Gateway) AdminAddr() net.Addr {
	if g.adminLn == nil {
		return nil
	}
	return g.adminLn.Addr()
}

// Run serves until ctx ends or SIGTERM or SIGINT arrives, then drains. SIGHUP
// reloads the configuration and reopens log files. It returns nil after an
// orderly stop, ErrForced after a second signal. It may be called once.
func (g *Gateway) Run(ctx context.Context) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	reloads := make(chan struct{}, 1) // one waiting stands for any number
	want := func() {
		select {
		case reloads <- struct{}{}:
		default:
		}
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	g.loops.Go(func() { g.reloadLoop(work, reloads) })
	if g.watch != nil {
		g.loops.Go(func() { g.watch.run(g.stopped, want) })
	}
	g.loops.Go(g.acceptor.run)
	g.serveAdmin()
	g.ready.Store(true)
	g.announce()

	for {
		select {
		case <-ctx.Done():
			return g.stop(cancel, nil)
		case s := <-signals:
			if s == syscall.SIGHUP {
				g.reopenAccessLog()
				want()
				continue
			}
			g.log.Info("stopping", zap.Stringer("signal", s))
			return g.stop(cancel, signals)
		}
	}
}

func (g *Gateway) announce() {
	fields := []zap.Field{
		zap.String("version", g.options.Version),
		zap.Stringer("address", g.Addr()),
		zap.Int("routes", len(g.running.Load().plan.routes)),
		zap.Duration("took", time.Since(g.started)),
	}
	if a := g.AdminAddr(); a != nil {
		fields = append(fields, zap.Stringer("admin", a))
	}
	g.log.Info("ready", fields...)
}

// reloadLoop reloads when asked, one at a time.
func (g *Gateway) reloadLoop(ctx context.Context, wanted <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wanted:
			_, _ = g.Reload(ctx) // it has logged and counted its error
		}
	}
}

func (g *Gateway) serveAdmin() {
	if g.adminLn == nil {
		return
	}
	g.admin = &fasthttp.Server{
		Handler:               func(ctx *fasthttp.RequestCtx) { (*g.adminServing.Load())(ctx) },
		ReadTimeout:           30 * time.Second,
		IdleTimeout:           75 * time.Second,
		MaxRequestBodySize:    4 << 20,
		NoDefaultServerHeader: true,
		SecureErrorLogMessage: true,
		Logger:                quiet{g.log},
	}
	g.loops.Go(func() {
		if err := g.admin.Serve(g.adminLn); err != nil {
			g.log.Error("serve management API: the listener ended", zap.Error(err))
		}
	})
}

// closing is how long clients of idle connections get to notice, by a
// Connection: close on their next answer, before the connections are closed.
const closing = time.Second

// stop drains: readiness fails first; connections are accepted for a while, so
// that load balancers notice; then every answer says Connection: close; then
// what is under way gets its time. A second signal ends it at once.
func (g *Gateway) stop(cancel context.CancelFunc, signals <-chan os.Signal) (err error) {
	defer g.release(cancel)
	cancel()
	g.applying.Lock() // a reload under way ends first; none begins
	g.draining.Store(true)
	g.applying.Unlock()
	g.ready.Store(false)
	s := g.running.Load().plan.config.Server.Shutdown
	g.log.Info("draining: not ready, still accepting", zap.Duration("for", time.Duration(s.Delay)))
	if !wait(time.Duration(s.Delay), signals, nil) {
		return ErrForced
	}
	g.proxy.Drain()
	g.acceptor.close()
	limit := time.Duration(s.Timeout)
	g.log.Info("draining: waiting for requests under way",
		zap.Int64("connections", g.acceptor.open.Load()), zap.Duration("at_most", limit))
	ctx, done := context.WithTimeout(context.Background(), limit)
	defer done()
	idle := func() bool { return g.acceptor.open.Load() == 0 }
	if !wait(min(closing, limit/2), signals, idle) {
		return ErrForced
	}
	ended := make(chan error, 1)
	go func() { ended <- g.shutdownServers(ctx) }()
	for {
		select {
		case err := <-ended:
			if err != nil && !idle() {
				g.log.Warn("drain: time is up, closing what is under way",
					zap.Int64("connections", g.acceptor.open.Load()))
			}
			return nil
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return ErrForced
			}
		}
	}
}

// wait lets time pass until done says that there is nothing to wait for. It
// reports false when a signal came in between.
func wait(d time.Duration, signals <-chan os.Signal, done func() bool) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return true
		case <-look.C:
			if done != nil && done() {
				return true
			}
		case s := <-signals:
			if s != syscall.SIGHUP {
				return false
			}
		}
	}
}

// release stops everything that New and Run started.
func (g *Gateway) release(cancel context.CancelFunc) {
	cancel()
	close(g.stopped)
	if a := g.acceptor; a.ln.Close() == nil { // not drained: forced
		a.setLimit(0)
	}
	if gate := g.acceptor.current.Load(); gate != nil {
		gate.shut()
	}
	if g.admin != nil {
		ctx, done := context.WithTimeout(context.Background(), time.Second)
		_ = g.admin.ShutdownWithContext(ctx) // a client that keeps it busy does not hold up the exit
		done()
	}
	g.checker.Close()
	g.closeAccessLog(g.running.Load().accessLog)
	g.loops.Wait()
	for _, e := range g.living.endpoints {
		e.CloseIdle()
	}
	g.log.Info("stopped")
	_ = g.log.Sync() // stderr need not support it
}

// healthChanged logs what the checker found.
func (g *Gateway) healthChanged(e health.Event) {
	fields := []zap.Field{zap.String("upstream", e.Upstream), zap.String("endpoint", e.Target.URL)}
	if e.Up {
		g.log.Info("endpoint is up", fields...)
		return
	}
	g.log.Warn("endpoint is down", append(fields, zap.String("cause", e.Cause))...)
}
