package admin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/bytedance/sonic"
	"github.com/bytedance/sonic/encoder"
	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

const (
	healthPath = "/health"
	readyPath  = "/ready"
	pprofPath  = "/debug/pprof/"

	defaultMetricsPath   = "/metrics"
	defaultReloadTimeout = 30 * time.Second
)

// Options are the settings of a handler. They do not change while it lives; a
// changed configuration gets a new handler.
type Options struct {
	// Token is the bearer token that requests must carry. Empty means none.
	Token string

	// ClientCertificates says that the listener verifies client certificates.
	// Every request must then come with one, in addition to Token when that is
	// set.
	ClientCertificates bool

	// Loopback says that the listener is bound to a loopback address. Only then
	// may both credentials be absent, and only then are metrics readable without
	// them.
	Loopback bool

	// MetricsEnabled serves the metrics at MetricsPath; empty means /metrics.
	MetricsEnabled bool
	MetricsPath    string

	// Pprof serves Go's profiles below /debug/pprof/, to requests with
	// credentials only, also on loopback.
	Pprof bool

	// ReloadTimeout bounds a reload. Zero means 30 seconds.
	ReloadTimeout time.Duration

	// Logger receives refused tokens, reloads, changes and panics. Nil discards
	// them.
	Logger *zap.Logger

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// handler is the API. Its fields are set once.
type handler struct {
	runtime  Runtime
	options  Options
	hasToken bool
	token    [sha256.Size]byte // digest of Options.Token, which is not kept
	failures *failures
	router   *router.Router
	json     sonic.API
	log      *zap.Logger
}

// NewHandler returns the management API over rt. It fails when the options would
// leave the API open to the network, or when the metrics path is not free.
func NewHandler(rt Runtime, o Options) (fasthttp.RequestHandler, error) {
	if o.MetricsPath == "" {
		o.MetricsPath = defaultMetricsPath
	}
	if o.ReloadTimeout == 0 {
		o.ReloadTimeout = defaultReloadTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if !o.Loopback && o.Token == "" && !o.ClientCertificates {
		return nil, errors.New("serve management API: an address that is not loopback needs a token or client certificates")
	}
	h := &handler{
		runtime:  rt,
		options:  o,
		hasToken: o.Token != "",
		token:    sha256.Sum256([]byte(o.Token)),
		failures: newFailures(o.Now),
		// ConfigStd, and empty lists as [] rather than null.
		json: sonic.Config{
			EscapeHTML: true, SortMapKeys: true, CompactMarshaler: true,
			CopyString: true, ValidateString: true, NoNullSliceOrMap: true,
		}.Froze(),
		log: o.Logger,
	}
	h.options.Token = ""
	if err := h.route(); err != nil {
		return nil, err
	}
	if err := compileEncoders(); err != nil {
		return nil, err
	}
	return h.serve, nil
}

// endpoint is one method of one path.
type endpoint struct {
	method, path string
	serve        fasthttp.RequestHandler
}

// endpoints lists the whole API. GET also answers HEAD.
func (h *handler) endpoints() []endpoint {
	list := []endpoint{
		{fasthttp.MethodGet, healthPath, h.health},
		{fasthttp.MethodGet, readyPath, h.ready},
		{fasthttp.MethodGet, "/admin/v1/status", h.status},
		{fasthttp.MethodGet, "/admin/v1/config", h.config},
		{fasthttp.MethodGet, "/admin/v1/routes", h.routes},
		{fasthttp.MethodGet, "/admin/v1/upstreams", h.upstreams},
		{fasthttp.MethodPatch, endpointPath, h.changeEndpoint},
		{fasthttp.MethodPost, endpointPath + "/reset", h.resetEndpoint},
		{fasthttp.MethodPost, upstreamPath + "/circuit-breaker", h.changeBreaker},
		{fasthttp.MethodGet, rateLimitsPath, h.rateLimits},
		{fasthttp.MethodGet, rateLimitPath, h.rateLimit},
		{fasthttp.MethodGet, limitKeyPath, h.rateLimitKey},
		{fasthttp.MethodDelete, limitKeyPath, h.resetRateLimitKey},
		{fasthttp.MethodGet, "/admin/v1/health", h.dependencies},
		{fasthttp.MethodGet, "/admin/v1/explain", h.explain},
		{fasthttp.MethodPost, "/admin/v1/reload", h.reload},
	}
	if h.options.MetricsEnabled {
		list = append(list, endpoint{fasthttp.MethodGet, h.options.MetricsPath, h.metrics})
	}
	if h.options.Pprof {
		list = append(list,
			endpoint{fasthttp.MethodGet, pprofPath, h.pprof},
			endpoint{fasthttp.MethodGet, pprofPath + "{profile}", h.pprof})
	}
	return list
}

// route fills the router. It checks first what the router would panic about.
func (h *handler) route() error {
	if path := h.options.MetricsPath; h.options.MetricsEnabled && !isPlainPath(path) {
		return fmt.Errorf("route metrics: %q is not a plain path", path)
	}
	r := router.New()
	// One resource has one path: a redirect would carry the caller's token along.
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.NotFound = h.notFound
	r.MethodNotAllowed = h.methodNotAllowed

	taken := map[string]bool{}
	for _, e := range h.endpoints() {
		if taken[e.path] && e.path == h.options.MetricsPath {
			return fmt.Errorf("route metrics: %s is already taken", e.path)
		}
		taken[e.path] = true
		r.Handle(e.method, e.path, e.serve)
		if e.method == fasthttp.MethodGet {
			r.Handle(fasthttp.MethodHead, e.path, e.serve)
		}
	}
	h.router = r
	return nil
}

// isPlainPath reports whether a path stands for itself in the router, and is not
// among the profiles, whose names are not listed.
func isPlainPath(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsAny(path, "{}?#*") &&
		!strings.HasPrefix(path, pprofPath)
}

// compileEncoders has the encoders compiled now rather than in the first
// request. Only encoders: sonic.Pretouch also compiles decoders, which nothing
// here uses and which cost five times as long at start.
func compileEncoders() error {
	err := encoder.PretouchMany([]reflect.Type{
		reflect.TypeFor[Status](), reflect.TypeFor[routeList](), reflect.TypeFor[upstreamList](),
		reflect.TypeFor[Reload](), reflect.TypeFor[Explanation](), reflect.TypeFor[problem](),
		reflect.TypeFor[state](), reflect.TypeFor[Endpoint](), reflect.TypeFor[CircuitBreaker](), reflect.TypeFor[report](),
		reflect.TypeFor[rateLimitList](), reflect.TypeFor[RateLimit](), reflect.TypeFor[KeyState](),
	})
	if err != nil {
		return fmt.Errorf("compile encoders: %w", err)
	}
	return nil
}

// serve answers one request.
func (h *handler) serve(ctx *fasthttp.RequestCtx) {
	h.answer(ctx)
	// Whatever is answered describes this moment and this caller only.
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
}

func (h *handler) answer(ctx *fasthttp.RequestCtx) {
	defer h.recover(ctx)
	if refusal := h.admit(ctx); refusal != nil {
		h.writeProblem(ctx, refusal)
		return
	}
	h.router.Handler(ctx)
}

// recover keeps a panic from ending the process, which fasthttp would allow.
func (h *handler) recover(ctx *fasthttp.RequestCtx) {
	v := recover()
	if v == nil {
		return
	}
	h.log.Error("management request panicked",
		zap.Any("panic", v), zap.ByteString("path", ctx.Path()), zap.Stack("stack"))
	ctx.Response.Reset()
	h.writeProblem(ctx, newProblem(fasthttp.StatusInternalServerError, codeInternal,
		"an unexpected error occurred; the log has the details"))
}

func (h *handler) notFound(ctx *fasthttp.RequestCtx) {
	h.writeProblem(ctx, newProblem(fasthttp.StatusNotFound, codeNotFound,
		"there is nothing at this path"))
}

// methodNotAllowed finds the Allow header already set by the router.
func (h *handler) methodNotAllowed(ctx *fasthttp.RequestCtx) {
	h.writeProblem(ctx, newProblem(fasthttp.StatusMethodNotAllowed, codeMethodNotAllowed,
		"this path answers "+string(ctx.Response.Header.Peek(fasthttp.HeaderAllow))))
}
