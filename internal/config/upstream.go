package config

// Upstream is a named group of servers that give the same service.
//
//	upstreams:
//	  - name: users
//	    targets:
//	      - url: http://10.0.0.1:3000
//	      - {url: "http://10.0.0.2:3000", weight: 2}
//	    balance: {algorithm: least_connections}
//	    health_check: {path: /health}
//	routes:
//	  - path: /users/*
//	    upstream: users
type Upstream struct {
	// Name is how routes refer to the upstream, and its label in metrics.
	// Letters, digits, `.`, `_` and `-`.
	Name string `yaml:"name" required:"true"`

	// Targets lists the servers.
	Targets []Target `yaml:"targets" required:"true"`

	// Balance chooses a server for each request.
	Balance Balance `yaml:"balance"`

	// HealthCheck probes the servers. Absent, every server counts as healthy.
	HealthCheck *HealthCheck `yaml:"health_check"`

	// Pool bounds the connections to each server.
	Pool Pool `yaml:"pool"`

	// ConnectTimeout bounds opening a connection, including the TLS handshake.
	// 0 means no limit.
	ConnectTimeout Duration `yaml:"connect_timeout" default:"2s"`

	// ResponseTimeout bounds the wait for the response header, and then each
	// wait for more of the body. 0 means no limit.
	ResponseTimeout Duration `yaml:"response_timeout" default:"30s"`

	// FirstByteTimeout bounds the wait for the response header where that needs
	// another limit than each wait for the body. 0 means `response_timeout`.
	FirstByteTimeout Duration `yaml:"first_byte_timeout" default:"0s"`

	// MaxInFlight bounds the requests that all servers together have in flight;
	// further ones wait in `queue`. 0 means no limit.
	MaxInFlight int `yaml:"max_in_flight" default:"0" min:"0" max:"10000000"`

	// Queue holds requests above `max_in_flight` until it is their turn.
	Queue Queue `yaml:"queue"`

	// TLS holds settings for `https` targets. Certificates are always
	// verified.
	TLS UpstreamTLS `yaml:"tls"`

	// ProxyProtocol begins every connection to a server with a PROXY header of
	// this version, `v1` or `v2`, that names the client. It speaks for the whole
	// connection, so each carries one request only: `pool.keep_alive` is off.
	// Absent, none is sent.
	ProxyProtocol string `yaml:"proxy_protocol" enum:"v1,v2"`

	// Origin is where the upstream was written.
	Origin Origin `yaml:"-"`
}

// Target is one server of an upstream.
type Target struct {
	// URL is the server's `http` or `https` address: scheme, host and port,
	// without a path, query or user. To add a path prefix use `rewrite`.
	URL string `yaml:"url" required:"true"`

	// Weight is the server's share of the traffic in proportion to the other
	// weights. 0 gives it no new requests, which drains it.
	Weight int `yaml:"weight" default:"1" min:"0" max:"65535"`
}

// Balance chooses a server for each request.
type Balance struct {
	// Algorithm is `p2c` (the less loaded of two random servers),
	// `round_robin` (smooth, by weight), `random` (by weight) or
	// `least_connections`.
	Algorithm string `yaml:"algorithm" default:"p2c" enum:"p2c,round_robin,random,least_connections"`
}

// HealthCheck probes each server of an upstream. A new server is down until
// its first probe succeeds.
type HealthCheck struct {
	// Path is the path, and query if any, to request.
	Path string `yaml:"path" required:"true"`

	// Method is the request's method.
	Method string `yaml:"method" default:"GET" enum:"GET,HEAD,OPTIONS,POST"`

	// Host is the request's Host. Absent, the target's host.
	Host string `yaml:"host"`

	// Headers are added to the request.
	Headers map[string]string `yaml:"headers"`

	// Interval is the time between probes of one server.
	Interval Duration `yaml:"interval" default:"2s" min:"100ms"`

	// Timeout bounds one probe. It may not be longer than the interval; absent,
	// it is not.
	Timeout Duration `yaml:"timeout" default:"1s" min:"1ms"`

	// Rise is how many successes in a row bring a server up.
	Rise int `yaml:"rise" default:"2" min:"1" max:"100"`

	// Fall is how many failures in a row take a server down.
	Fall int `yaml:"fall" default:"3" min:"1" max:"100"`

	// ExpectedStatuses lists the statuses that count as success, each one
	// number or a range such as `200-399`.
	ExpectedStatuses []StatusRange `yaml:"expected_statuses" default:"200-399"`
}

// Queue holds requests above an upstream's `max_in_flight`, first come first
// served. Waiting counts towards the route's `timeout`.
//
//	upstreams:
//	  - name: reports
//	    targets: [{url: "http://127.0.0.1:3000"}]
//	    max_in_flight: 20
//	    queue: {size: 100, timeout: 2s}
//	routes:
//	  - path: /reports/*
//	    upstream: reports
type Queue struct {
	// Size is how many requests may wait. 0 answers 503 at once.
	Size int `yaml:"size" default:"0" min:"0" max:"1000000"`

	// Timeout is how long one may wait; then it is answered 503. 0 means no
	// limit but the route's.
	Timeout Duration `yaml:"timeout" default:"1s"`
}

// Pool bounds the connections to each server of an upstream.
type Pool struct {
	// MaxConnections bounds the connections to one server.
	MaxConnections int `yaml:"max_connections" default:"1024" min:"1" max:"1000000"`

	// MaxWait is how long a request may wait for a connection when all are
	// busy; then it is answered 503. 0 does not wait.
	MaxWait Duration `yaml:"max_wait" default:"1s"`

	// IdleTimeout closes a connection that was not used for this long. 0 keeps
	// it.
	IdleTimeout Duration `yaml:"idle_timeout" default:"60s"`

	// MaxLifetime closes a connection of this age after its request. 0 keeps
	// it.
	MaxLifetime Duration `yaml:"max_lifetime" default:"0s"`

	// KeepAlive uses a connection for more than one request.
	KeepAlive bool `yaml:"keep_alive" default:"true"`
}

// UpstreamTLS holds settings for `https` targets.
type UpstreamTLS struct {
	// CAFile is a PEM bundle that replaces the system's roots.
	CAFile string `yaml:"ca_file"`

	// ServerName is the name to ask for (SNI) and to verify. Absent, the
	// target's host.
	ServerName string `yaml:"server_name"`
}
