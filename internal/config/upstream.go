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
	Targets []Target `yaml:"targets"`

	// Discovery finds the servers, in place of `targets` or beside them.
	Discovery *Discovery `yaml:"discovery"`

	// Balance chooses a server for each request.
	Balance Balance `yaml:"balance"`

	// HealthCheck probes the servers. Absent, every server counts as healthy.
	HealthCheck *HealthCheck `yaml:"health_check"`

	// OutlierDetection takes a server out of service for a while that answers
	// worse than it should.
	OutlierDetection OutlierDetection `yaml:"outlier_detection"`

	// CircuitBreaker stops sending where most attempts fail or are slow. Absent,
	// there is none.
	CircuitBreaker *CircuitBreaker `yaml:"circuit_breaker"`

	// AdaptiveConcurrency bounds the requests in flight by what the servers are
	// found to take. Absent, only `max_in_flight` does.
	AdaptiveConcurrency *AdaptiveConcurrency `yaml:"adaptive_concurrency"`

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

	// Priority groups servers: those of a lower number serve, and the next
	// take over what they cannot carry once some of them are down.
	Priority int `yaml:"priority" default:"0" min:"0" max:"15"`

	// Zone is where the server is; `balance.prefer_zone` goes by it.
	Zone string `yaml:"zone"`
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
