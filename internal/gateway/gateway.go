package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
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

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/balancer/health/outlier"
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
	// Args are the command line without the program's name. A process that
	// takes over on SIGUSR2 is started with them.
	Args []string
	// Takeover makes New take the listening sockets of the process that runs
	// the same configuration, which then drains and ends.
	Takeover bool
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
	outliers *outlier.Detector
	breakers *breaker.Watch
	ramps    *balancer.Ramps
	sources  *discovery.Group
	watch    *watcher
	started  time.Time

	store          atomic.Pointer[limitStore] // as living.store
	slowStarts     sync.Map                   // balancer.SlowStart by upstream
	rediscover     chan struct{}              // something is in changed
	changedMu      sync.Mutex
	changed        map[string]bool   // upstreams whose discovery has news
	failing        map[string]bool   // sources that fail
	sourceFailures map[string]uint64 // how often each has

	applying       sync.Mutex // held by Reload; guards what follows, down to closed
	living         living
	servers        []*fasthttp.Server
	serverSettings serverSettings
	inherited      inheritance
	accepting      bool // the sockets are being accepted from
	closed         bool // they have been closed

	running    atomic.Pointer[running]
	lastReload atomic.Pointer[reloadTry]

	memory       *memoryWatch
	runtimeLimit int64 // of memory, as the runtime had it at the start
	groupLimit   int64

	door    *door
	sockets atomic.Pointer[[]*acceptor] // changed under applying

	takeover *takeover // nil unless started to take over
	handover handover
	systemd  notifier

	admin        *fasthttp.Server
	adminSocket  socket       // without a listener when management is off
	adminLn      net.Listener // over adminSocket, with TLS if configured
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

// New loads the configuration and builds a gateway from it. Its sockets are
// open then; who connects waits for Run. The error is config.Problems when the
// document is bad.
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
		handover: handover{done: make(chan struct{})},
		changed:  make(map[string]bool), failing: make(map[string]bool), sourceFailures: make(map[string]uint64), rediscover: make(chan struct{}, 1),
		systemd: newNotifier(o.Env),
	}
	g.metrics = g.registry.Gateway()
	g.door = newDoor(g.metrics)
	g.proxy = proxy.NewServer(g.metrics, func(recovered any, id string) {
		g.log.Error("panic while serving a request",
			zap.String("request_id", id), zap.Any("panic", recovered), zap.ByteString("stack", debug.Stack()))
	})
	g.proxy.NotifyBadReply(func(target, id string, cause error) {
		g.log.Debug("an upstream's reply is not well-formed",
			zap.String("target", target), zap.String("request_id", id), zap.Error(cause))
	})
	g.proxy.NotifyRefused(refusedAccess(g.log))
	g.runtimeLimit, g.groupLimit = debug.SetMemoryLimit(-1), groupLimit(os.DirFS("/"))
	g.memory = g.newMemoryWatch()
	g.checker = health.New(health.Options{OnChange: g.healthChanged, OnProbe: g.probed})
	g.outliers = outlier.New(outlier.Options{OnEject: g.ejected, OnReturn: g.returned})
	g.breakers = breaker.NewWatch(g.proxy.Now)
	g.ramps = balancer.NewRamps()
	g.sources = discovery.NewGroup(discovery.Options{Report: g.sourceReported})
	if g.watch, err = newWatcher(log); err != nil {
		log.Warn("watch configuration: changes need SIGHUP", zap.Error(err))
	}
	if err := g.start(c); err != nil {
		g.abandon()
		return nil, err
	}
	return g, nil
}

// start gets the sockets and applies the first configuration.
func (g *Gateway) start(c *config.Config) (err error) {
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.options.Takeover {
		g.takeover, g.inherited, err = askForSockets(takeoverPath(c, g.options.ConfigPath, g.options.Env))
		if err == nil && g.takeover.limits {
			g.living.seed = g.takeover.seed
		}
	} else {
		g.inherited, err = passedSockets(g.options.Env)
	}
	if err != nil {
		return err
	}
	if err := g.listenAdmin(c); err != nil {
		return err
	}
	g.watchFiles(c)
	if err := g.apply(context.Background(), c); err != nil {
		return err
	}
	g.metrics.Reloaded(telemetry.ReloadApplied, time.Now())
	return nil
}

// abandon gives back what start got before it failed.
func (g *Gateway) abandon() {
	for _, a := range g.acceptors() {
		a.discard()
	}
	if g.adminSocket.ln != nil {
		g.adminSocket.discard()
	}
	g.inherited.drop(false)
	if g.takeover != nil {
		g.takeover.conn.Close()
	}
	g.watch.close()
	g.closeWatchers()
}

// listenAdmin opens the management listener.
func (g *Gateway) listenAdmin(c *config.Config) error {
	if !c.Admin.Enabled {
		return nil
	}
	hostPort := net.JoinHostPort(c.Admin.Host, strconv.Itoa(c.Admin.Port))
	key := "admin " + tcpKey(hostPort)
	s, ok := g.inherited.take(key)
	if !ok && !g.options.Takeover { // systemd tells only the address
		s, ok = g.inherited.take(tcpKey(hostPort))
	}
	if !ok {
		var err error
		if s, err = listenTCP(key, hostPort, false); err != nil {
			return fmt.Errorf("listen for management (admin.host, admin.port): %w", err)
		}
	}
	s.key = key
	g.adminSocket, g.adminLn = s, s.ln
	if c.Admin.TLS.CertFile != "" {
		cfg, err := adminTLS(&c.Admin.TLS)
		if err != nil {
			return err
		}
		g.adminLn = tls.NewListener(s.ln, cfg)
	}
	return nil
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

// Addr returns the address that takes traffic, the first if there are several.
func (g *Gateway) Addr() net.Addr { return g.acceptors()[0].ln.Addr() }

// AdminAddr returns the management address, nil when it is off.
func (g *Gateway) AdminAddr() net.Addr {
	if g.adminLn == nil {
		return nil
	}
	return g.adminLn.Addr()
}

// Run serves until ctx ends, SIGTERM or SIGINT arrives or another process has
// taken over, then drains. SIGHUP reloads the configuration and reopens log
// files; SIGUSR2 starts a process that takes over. It returns nil after an
// orderly stop, ErrForced after a second signal. It may be called once.
func (g *Gateway) Run(ctx context.Context) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
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
	g.loops.Go(func() { g.memory.run(g.stopped) })
	g.loops.Go(g.rediscoverLoop)
	g.loops.Go(g.reportObserved)
	g.askForLimits()
	g.accept()
	g.serveAdmin()
	g.ready.Store(true)
	if err := g.finishTakeover(); err != nil {
		_ = g.stop(cancel, signals) // it ends by an error in any case
		return err
	}
	g.serveTakeover()
	g.announce()

	alive, stop := g.systemd.ticks()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return g.stop(cancel, nil)
		case <-g.handover.done:
			return g.stop(cancel, signals)
		case <-alive:
			g.notify("WATCHDOG=1")
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				g.reopenAccessLog()
				want()
			case syscall.SIGUSR2:
				g.startSuccessor()
			default:
				g.log.Info("stopping", zap.Stringer("signal", s))
				return g.stop(cancel, signals)
			}
		}
	}
}

func (g *Gateway) announce() {
	fields := []zap.Field{
		zap.String("version", g.options.Version),
		zap.Int("pid", os.Getpid()),
		zap.Stringer("address", g.Addr()),
		zap.Int("routes", len(g.running.Load().plan.routes)),
		zap.Duration("took", time.Since(g.started)),
	}
	if a := g.AdminAddr(); a != nil {
		fields = append(fields, zap.Stringer("admin", a))
	}
	if list := g.acceptors(); len(list) > 1 {
		addresses := make([]string, len(list))
		for i, a := range list {
			addresses[i] = a.address()
		}
		fields = append(fields, zap.Strings("addresses", addresses))
	}
	g.log.Info("ready", fields...)
	g.notify("READY=1", "MAINPID="+strconv.Itoa(os.Getpid()))
}

// notify tells systemd; what it does not hear is worth a line in the log.
func (g *Gateway) notify(state ...string) {
	if err := g.systemd.send(state...); err != nil {
		g.log.Warn("systemd was not told", zap.Strings("state", state), zap.Error(err))
	}
}

// reloadLoop reloads when asked, one at a time.
func (g *Gateway) reloadLoop(ctx context.Context, wanted <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wanted:
			g.notify(reloading()...)
			_, _ = g.Reload(ctx) // it has logged and counted its error
			g.notify("READY=1")
		}
	}
}

func (g *Gateway) serveAdmin() {
	if g.adminLn == nil {
		return
	}
	g.admin = &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			(*g.adminServing.Load())(ctx)
			if g.handover.isDone() {
				ctx.SetConnectionClose()
			}
		},
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
// After a hand-over there is no hurry, and more time means fewer clients that
// send at the very moment at which they are closed.
const (
	closing           = time.Second
	closingHandedOver = 5 * time.Second
)

// stop drains: readiness fails first; connections are accepted for a while, so
// that load balancers notice; then every answer says Connection: close; then
// what is under way gets its time. A second signal ends it at once.
//
// When another process has the sockets, nobody needs to notice anything: it
// begins with Connection: close.
func (g *Gateway) stop(cancel context.CancelFunc, signals <-chan os.Signal) (err error) {
	defer g.release(cancel)
	phase, notice := g.handover.end(), closing
	cancel()
	g.applying.Lock() // a reload under way ends first; none begins
	g.draining.Store(true)
	g.applying.Unlock()
	s := g.running.Load().plan.config.Server.Shutdown
	switch phase {
	case handedOver:
		notice = closingHandedOver
		g.log.Info("draining: another process has taken over")
	case declined:
		g.log.Info("draining: the process before goes on")
	default:
		g.notify("STOPPING=1")
		g.ready.Store(false)
		g.log.Info("draining: not ready, still accepting", zap.Duration("for", time.Duration(s.Delay)))
		if !wait(time.Duration(s.Delay), signals, nil) {
			return ErrForced
		}
	}
	g.proxy.Drain()
	g.closeSockets()
	limit := time.Duration(s.Timeout)
	g.log.Info("draining: waiting for requests under way",
		zap.Int64("connections", g.door.open.Load()), zap.Duration("at_most", limit))
	ctx, done := context.WithTimeout(context.Background(), limit)
	defer done()
	idle := func() bool { return g.door.open.Load() == 0 }
	if !wait(min(notice, limit/2), signals, idle) {
		return ErrForced
	}
	g.door.dismiss()
	ended := make(chan int64, 1) // connections that are cut
	go func() {
		cut := int64(0)
		if err := g.shutdownServers(ctx); err != nil {
			cut = g.door.open.Load() - int64(g.proxy.Upgrades())
		}
		ended <- cut + int64(g.proxy.CloseUpgrades(ctx))
	}()
	for {
		select {
		case cut := <-ended:
			if cut > 0 {
				g.log.Warn("drain: time is up, closing what is under way", zap.Int64("connections", cut))
			}
			return nil
		case sig := <-signals:
			if endsProcess(sig) {
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
			if endsProcess(s) {
				return false
			}
		}
	}
}

// endsProcess tells orders to stop from the other signals.
func endsProcess(s os.Signal) bool { return s != syscall.SIGHUP && s != syscall.SIGUSR2 }

// release stops everything that New and Run started.
func (g *Gateway) release(cancel context.CancelFunc) {
	cancel()
	close(g.stopped)
	g.closeSockets() // not yet if it was forced
	g.handover.close()
	if gate := g.door.current.Load(); gate != nil {
		gate.shut()
	}
	g.door.dismiss()                 // not yet if it was forced
	g.proxy.CloseUpgrades(expired()) // what a forced stop leaves
	if g.admin != nil {
		ctx, done := context.WithTimeout(context.Background(), time.Second)
		_ = g.admin.ShutdownWithContext(ctx) // a client that keeps it busy does not hold up the exit
		done()
	}
	g.closeWatchers()
	debug.SetMemoryLimit(g.runtimeLimit)
	g.closeAccessLog(g.running.Load().accessLog)
	g.loops.Wait()
	for _, e := range g.living.endpoints {
		e.CloseIdle()
	}
	g.log.Info("stopped")
	_ = g.log.Sync() // stderr need not support it
}

// expired returns a context that has ended.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// closeWatchers ends all that watches endpoints beside requests.
func (g *Gateway) closeWatchers() {
	g.closeStore(g.living.store)
	closeVerifiers(g.living.verifiers, nil)
	g.sources.Close()
	g.checker.Close()
	g.outliers.Close()
	g.breakers.Close()
	g.ramps.Close()
}
