package config

import "net/netip"

// Config is one checked configuration. It is complete when Load returns it:
// defaults filled in, environment and secret files read, names resolved. It is
// read-only from then on and safe to share.
type Config struct {
	// Include lists more files to read: names or globs (`conf.d/*.yaml`),
	// relative to the file that includes them. Included files hold `routes`,
	// `upstreams` and further `include`s. A glob may match nothing; a plain
	// name must exist.
	Include []string `yaml:"include"`

	// Server takes traffic.
	Server Server `yaml:"server"`

	// Admin is the management listener.
	Admin Admin `yaml:"admin"`

	// Database names the stores that gateways share.
	Database Database `yaml:"database"`

	// Observability says what the gateway tells about itself.
	Observability Observability `yaml:"observability"`

	// Plugins lists policies that apply to every route.
	Plugins []Plugin `yaml:"plugins"`

	// Upstreams lists the named groups of servers that routes send to.
	Upstreams []Upstream `yaml:"upstreams"`

	// Routes lists what is matched and what happens then. Order matters only
	// between routes that are equal in every other respect.
	Routes []Route `yaml:"routes"`

	// Warnings are the problems that did not stop the document from loading.
	Warnings Problems `yaml:"-"`

	files []string
	dirs  []string
	hash  string

	// defaultUpstream is what InlineUpstream starts from.
	defaultUpstream Upstream
}

// Server takes traffic. Everything follows a reload, the listeners included,
// except `takeover_socket`.
//
//	server:
//	  port: 8080
//	  read_timeout: 30s
//	  trusted_proxies: [10.0.0.0/8]
type Server struct {
	// Host is the address to listen on. `0.0.0.0` listens on every IPv4
	// address, `::` on every address.
	Host string `yaml:"host" default:"0.0.0.0"`

	// Port is the TCP port. 0 takes any free port and logs which.
	Port int `yaml:"port" default:"8080" min:"0" max:"65535"`

	// Listeners lists what to listen on, in place of `host` and `port`, which
	// must then be absent.
	Listeners []Listener `yaml:"listeners"`

	// HeaderTimeout bounds reading the header of a request, from its first
	// byte, or from the start of the connection for the first request: a client
	// that takes longer is answered 408. 0 means no limit.
	HeaderTimeout Duration `yaml:"header_timeout" default:"10s"`

	// ReadTimeout bounds each wait for more of a request's body: a client that
	// sends nothing for this long is answered 408. 0 means no limit.
	ReadTimeout Duration `yaml:"read_timeout" default:"30s"`

	// WriteTimeout bounds each write to the client: a client that takes
	// nothing for this long is disconnected. 0 means no limit.
	WriteTimeout Duration `yaml:"write_timeout" default:"30s"`

	// MinBodyRate is the least speed, in bytes a second, of a request body: a
	// client that keeps below it over `rate_window` is answered 408. 0 means no
	// limit.
	MinBodyRate Size `yaml:"min_body_rate" default:"128"`

	// MinSendRate is the least speed, in bytes a second, at which a client takes
	// a streamed response: one that keeps below it over `rate_window` is
	// disconnected. 0 means no limit.
	MinSendRate Size `yaml:"min_send_rate" default:"128"`

	// RateWindow is how much time of waiting for a client `min_body_rate` and
	// `min_send_rate` are measured over. Time in which the upstream holds up the
	// client does not count.
	RateWindow Duration `yaml:"rate_window" default:"30s" min:"100ms"`

	// IdleTimeout is how long a connection may wait for its next request. 0
	// means no limit.
	IdleTimeout Duration `yaml:"idle_timeout" default:"75s"`

	// MaxHeaderBytes bounds the request line and the headers together; more is
	// answered 431. It is also the size of each connection's read buffer.
	MaxHeaderBytes Size `yaml:"max_header_bytes" default:"16384" min:"1024" max:"16777216"`

	// MaxURIBytes bounds the request target, path and query together; more is
	// answered 414. 0 leaves it to `max_header_bytes`.
	MaxURIBytes Size `yaml:"max_uri_bytes" default:"8KiB" min:"0" max:"16777216"`

	// MaxBodySize bounds the body of a request; more is answered 413, by its
	// Content-Length before anything is sent on, else as it comes. A route may
	// say otherwise. 0 means no limit.
	MaxBodySize Size `yaml:"max_body_size" default:"0" min:"0"`

	// Headers bounds and cleans the header fields of requests.
	Headers RequestFields `yaml:"headers"`

	// MaxConnections bounds the open client connections; further ones wait in
	// the accept queue of the kernel. 0 means no limit.
	MaxConnections int `yaml:"max_connections" default:"0" min:"0"`

	// MaxConnectionsPerClient bounds the open connections of one client: an IPv4
	// address, or the first 64 bits of an IPv6 address. Further ones are closed
	// at once. A load balancer in front is one client. 0 means no limit.
	MaxConnectionsPerClient int `yaml:"max_connections_per_client" default:"0" min:"0"`

	// MaxRequestsPerConnection bounds the requests that one connection carries;
	// the last answer says that it ends. 0 means no limit.
	MaxRequestsPerConnection int `yaml:"max_requests_per_connection" default:"0" min:"0"`

	// MaxConnectionAge ends a connection of this age, less up to a tenth, with
	// its next answer, so that clients spread over the instances anew. 0 means
	// no limit.
	MaxConnectionAge Duration `yaml:"max_connection_age" default:"0s"`

	// MaxInFlight bounds the requests for routes that are under way at one
	// time; further ones are answered 503. 0 means no limit.
	MaxInFlight int `yaml:"max_in_flight" default:"0" min:"0" max:"10000000"`

	// MemoryLimit is what the process may take: a size, or a share of the
	// container's memory or of `GOMEMLIMIT`, whichever is less. Garbage is
	// collected in time for it, and when what is really needed comes near,
	// requests are answered 503. 0 means 90 % of such a limit if there is one.
	MemoryLimit MemoryLimit `yaml:"memory_limit" default:"0"`

	// TrustedProxies lists the addresses and CIDRs of proxies in front of the
	// gateway. Only their forwarding headers are believed when the client's
	// address is worked out.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// RequestID names every request.
	RequestID RequestID `yaml:"request_id"`

	// Forwarding chooses the headers that tell an upstream about the client.
	Forwarding Forwarding `yaml:"forwarding"`

	// Zone is where this gateway runs; `balance.prefer_zone` of upstreams goes by
	// it.
	Zone string `yaml:"zone"`

	// ReadyRequires lists what `/ready` depends on besides the gateway itself:
	// `upstream:NAME`, which is ready while one of its servers is available, and
	// `discovery:NAME` for the discovery of an upstream, which is ready once it
	// has found servers.
	ReadyRequires []string `yaml:"ready_requires"`

	// Shutdown bounds the time between SIGTERM and the exit.
	Shutdown Shutdown `yaml:"shutdown"`

	// Watch reloads the configuration when one of its files changes. SIGHUP
	// reloads it in any case.
	Watch bool `yaml:"watch" default:"true"`

	// TakeoverSocket is the absolute path of the Unix socket over which a new
	// process (`velocity --takeover`, or SIGUSR2) gets the listening sockets of
	// this one. Absent, a path below `$XDG_RUNTIME_DIR`, `/run/velocity` or the
	// directory for temporary files that the configuration's path determines;
	// `off` has none. It needs a restart.
	TakeoverSocket string `yaml:"takeover_socket"`
}

// RequestFields bounds and cleans the header fields of requests.
type RequestFields struct {
	// MaxCount is how many fields a request may have; more is answered 431. 0
	// means no limit but `max_header_bytes`.
	MaxCount int `yaml:"max_count" default:"100" min:"0" max:"100000"`

	// Underscores says what becomes of fields with an underscore in their
	// name, which some servers cannot tell from a hyphen: `drop` removes them,
	// `reject` answers 400, `keep` passes them on, but for those that look
	// like a field of the gateway's own, such as `X_Forwarded_For`.
	Underscores string `yaml:"underscores" default:"drop" enum:"drop,reject,keep"`
}

// RequestID gives each request the name that appears in logs, error bodies and
// the upstream's request.
type RequestID struct {
	// Header carries the ID, on the request to the upstream and on the
	// response.
	Header string `yaml:"header" default:"X-Request-Id"`

	// TrustInbound keeps a well-formed ID that the client sent. When false
	// every request gets a new one.
	TrustInbound bool `yaml:"trust_inbound" default:"true"`
}

// Forwarding chooses the headers that tell an upstream about the client.
type Forwarding struct {
	// XForwarded sends `X-Forwarded-For`, `X-Forwarded-Proto` and
	// `X-Forwarded-Host`.
	XForwarded bool `yaml:"x_forwarded" default:"true"`

	// Forwarded sends `Forwarded` (RFC 7239).
	Forwarded bool `yaml:"forwarded" default:"false"`

	// Via adds `Via` with the pseudonym `velocity` (RFC 9110, section 7.6.3).
	Via bool `yaml:"via" default:"true"`
}

// Shutdown bounds the time between SIGTERM and the exit. A second signal exits
// at once.
type Shutdown struct {
	// Delay is how long connections are still accepted after readiness starts
	// to fail, so that load balancers notice first. 0 stops accepting at once.
	Delay Duration `yaml:"delay" default:"5s"`

	// Timeout is how long requests in flight may take to finish after that. 0
	// does not wait for them.
	Timeout Duration `yaml:"timeout" default:"30s"`
}

// Admin is the management listener: status, routes, reload, metrics,
// profiling. On loopback it needs no credentials; on any other address it
// needs a token or client certificates.
//
//	admin:
//	  host: 0.0.0.0
//	  port: 8081
//	  token: ${ADMIN_TOKEN}
type Admin struct {
	// Enabled opens the listener.
	Enabled bool `yaml:"enabled" default:"true"`

	// Host is the address to listen on.
	Host string `yaml:"host" default:"127.0.0.1"`

	// Port is the TCP port. 0 takes any free port and logs which.
	Port int `yaml:"port" default:"8081" min:"0" max:"65535"`

	// Token is the bearer token that requests must carry. Give `token` or
	// `token_file`, not both.
	Token Secret `yaml:"token"`

	// TokenFile names a file that holds the token; a newline at its end is
	// dropped.
	TokenFile string `yaml:"token_file"`

	// TLS serves the listener over HTTPS.
	TLS AdminTLS `yaml:"tls"`

	// ExposeOnGateway also serves the management API on the gateway's port,
	// below `/admin/`. It needs a token.
	ExposeOnGateway bool `yaml:"expose_on_gateway" default:"false"`

	// Pprof serves Go's profiles below `/debug/pprof/`, on loopback too only to
	// requests with a token or a client certificate.
	Pprof bool `yaml:"pprof" default:"true"`
}

// AdminTLS serves the management listener over HTTPS and may ask for client
// certificates.
type AdminTLS struct {
	// CertFile is the PEM certificate chain. It comes with `key_file`.
	CertFile string `yaml:"cert_file"`

	// KeyFile is the PEM private key. It comes with `cert_file`.
	KeyFile string `yaml:"key_file"`

	// ClientCAFile is a PEM bundle. With it only clients whose certificate it
	// signed may connect.
	ClientCAFile string `yaml:"client_ca_file"`
}

// Plugin is a policy for every route. A route's own setting of the same
// feature wins over the plugin's.
//
//	plugins:
//	  - {name: rate-limiter, enabled: true}
//	  - name: cors
//	    config:
//	      allowed_origins: ["https://app.example.com"]
//	      allowed_methods: [GET, POST]
type Plugin struct {
	// Name says which plugin.
	Name string `yaml:"name" enum:"cors,rate-limiter" required:"true"`

	// Enabled turns the plugin on. A disabled one is checked and then ignored.
	Enabled bool `yaml:"enabled" default:"true"`

	// Config holds the plugin's settings. An enabled `cors` needs it.
	Config PluginConfig `yaml:"config"`

	// Origin is where the plugin was written.
	Origin Origin `yaml:"-"`
}

// PluginConfig holds the settings of a plugin. Those that belong to its name stand
// directly below `config`.
type PluginConfig struct {
	// CORS is what `config` holds for `cors`, the settings of a route's `cors`.
	CORS *CORS `yaml:"cors"`

	// RateLimit is what `config` holds for `rate-limiter`, the settings of a
	// route's `rate_limit`. Its counts are those of all routes together that have
	// no limit of their own.
	RateLimit *RateLimit `yaml:"rate-limiter"`
}
