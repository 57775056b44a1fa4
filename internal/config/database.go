package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// Database names the stores that gateways share. Absent, each gateway is on its
// own.
type Database struct {
	// Redis keeps the counts of rate limits across gateways. Absent, each counts
	// for itself.
	Redis *Redis `yaml:"redis"`
}

// Redis keeps the counts of rate limits across gateways. When it is down each
// gateway goes on with its share of the limits.
// [rate-limiting.md](rate-limiting.md#across-gateways) explains it.
//
//	database:
//	  redis: {host: redis.internal, password: "${REDIS_PASSWORD:-}"}
type Redis struct {
	// URL is `redis://user:password@host:port/db`, or `rediss://` for TLS, in place of
	// the keys for those. `VELOCITY_REDIS_URL` sets it.
	URL Secret `yaml:"url"`

	// Host is the server's host.
	Host string `yaml:"host" default:"localhost"`

	// Port is its port.
	Port int `yaml:"port" default:"6379" min:"1" max:"65535"`

	// Addresses lists several servers as host:port, in place of `host` and `port`:
	// nodes of a cluster, or the Sentinels when `sentinel_master` is given.
	Addresses []string `yaml:"addresses"`

	// Cluster says that `addresses` are nodes of a Redis Cluster.
	Cluster bool `yaml:"cluster" default:"false"`

	// SentinelMaster is the name of the primary that Sentinels watch.
	SentinelMaster string `yaml:"sentinel_master"`

	// Username is the ACL user.
	Username string `yaml:"username"`

	// Password is the server's password.
	Password Secret `yaml:"password"`

	// PasswordFile names a file that holds it; a newline at its end is dropped.
	PasswordFile string `yaml:"password_file"`

	// SentinelUsername is the ACL user of the Sentinels.
	SentinelUsername string `yaml:"sentinel_username"`

	// SentinelPassword is the password of the Sentinels.
	SentinelPassword Secret `yaml:"sentinel_password"`

	// DB is the number of the database. A cluster has only 0.
	DB int `yaml:"db" default:"0" min:"0" max:"1000000"`

	// TLS speaks to the server over TLS.
	TLS RedisTLS `yaml:"tls"`

	// Mode says how limits are kept: `async` decides by what each gateway knows and
	// exchanges counts in the background; `exact` asks the server about each
	// request.
	Mode string `yaml:"mode" default:"async" enum:"async,exact"`

	// SyncInterval is the longest time between exchanges while something is taken.
	// Windows shorter than ten times this, and keys that come near their limit, make
	// it shorter.
	SyncInterval Duration `yaml:"sync_interval" default:"100ms" min:"5ms" max:"1m"`

	// Timeout bounds one exchange.
	Timeout Duration `yaml:"timeout" default:"250ms" min:"1ms"`

	// ExactTimeout bounds the wait of a request for the server with `exact`.
	ExactTimeout Duration `yaml:"exact_timeout" default:"50ms" min:"1ms"`

	// OnFailure says what happens while the server cannot be reached: `share` gives
	// each gateway an equal part of the limits, `deny` answers 503 to what is
	// limited, `allow` limits nothing.
	OnFailure string `yaml:"on_failure" default:"share" enum:"share,deny,allow"`

	// Nodes is how many gateways are thought to share the limits until the server has
	// answered once.
	Nodes int `yaml:"nodes" default:"1" min:"1" max:"10000"`

	// Prefix begins the names of all keys. Gateways with the same prefix share counts.
	Prefix string `yaml:"prefix" default:"velocity"`

	// Origin is where the section was written.
	Origin Origin `yaml:"-"`
}

// RedisTLS speaks to Redis over TLS. The certificate is always verified.
type RedisTLS struct {
	// Enabled turns TLS on.
	Enabled bool `yaml:"enabled" default:"false"`

	// CAFile is a PEM bundle that replaces the system's roots.
	CAFile string `yaml:"ca_file"`

	// ServerName is the name to verify. Absent, the host.
	ServerName string `yaml:"server_name"`

	// CertFile is a client certificate. It comes with `key_file`.
	CertFile string `yaml:"cert_file"`

	// KeyFile is its private key.
	KeyFile string `yaml:"key_file"`
}

// Servers returns the addresses.
func (r *Redis) Servers() []string {
	if len(r.Addresses) > 0 {
		return r.Addresses
	}
	return []string{net.JoinHostPort(r.Host, strconv.Itoa(r.Port))}
}

func (r *Redis) check(s scope) {
	if r.URL != "" {
		for _, key := range []string{"host", "port", "addresses", "username", "password", "password_file", "db"} {
			if s.has(key) {
				s.problem(key, "is part of url: give one of them")
			}
		}
		if err := r.readURL(); err != nil {
			s.problem("url", "%s", err.Error())
		}
	}
	if !isListenHost(r.Host) {
		s.problem("host", "expected an IP address or a host name, got %q", r.Host)
	}
	for i, address := range r.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !isListenHost(host) || !isPort(port) {
			s.problem("addresses["+strconv.Itoa(i)+"]", "expected host:port, got %q", address)
		}
	}
	if len(r.Addresses) > 0 && (s.has("host") || s.has("port")) {
		s.problem("addresses", "give addresses, or host and port, not both")
	}
	switch {
	case r.Cluster && r.SentinelMaster != "":
		s.problem("sentinel_master", "a server that Sentinels watch is not a cluster")
	case r.SentinelMaster != "" && len(r.Addresses) == 0:
		s.problem("sentinel_master", "needs the addresses of the Sentinels")
	case len(r.Addresses) > 1 && !r.Cluster && r.SentinelMaster == "":
		s.problem("addresses", "several addresses are for cluster: true or sentinel_master")
	}
	if r.Cluster && r.DB != 0 {
		s.problem("db", "a cluster has only database 0")
	}
	switch {
	case r.Password != "" && r.PasswordFile != "":
		s.problem("password_file", "give password or password_file, not both")
	case r.PasswordFile != "":
		r.Password = readSecret(s, "password_file", &r.PasswordFile)
	}
	t := &r.TLS
	if t.CAFile != "" {
		checkCAFile(s, "tls.ca_file", &t.CAFile)
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		s.problem("tls", "cert_file and key_file come together")
	}
	if t.CertFile != "" && t.KeyFile != "" {
		readNamed(s, "tls.cert_file", &t.CertFile)
		readNamed(s, "tls.key_file", &t.KeyFile)
	}
	if !t.Enabled && (s.below("tls").has("ca_file") || s.below("tls").has("server_name") || s.below("tls").has("cert_file")) {
		s.problem("tls", "has no effect without enabled: true")
	}
}

// readURL sets what the URL says. Its problems do not repeat it, since it may hold
// a password.
func (r *Redis) readURL() error {
	u, err := url.Parse(r.URL.Reveal())
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("expected a URL such as redis://:password@localhost:6379/0")
	}
	r.Host, r.Port = u.Hostname(), 6379
	if u.Port() != "" {
		if r.Port, err = strconv.Atoi(u.Port()); err != nil || r.Port < 1 || r.Port > 65535 {
			return errors.New("port must be between 1 and 65535")
		}
	}
	r.Username = u.User.Username()
	password, _ := u.User.Password()
	r.Password = Secret(password)
	if db := strings.Trim(u.Path, "/"); db != "" {
		if r.DB, err = strconv.Atoi(db); err != nil || r.DB < 0 {
			return fmt.Errorf("the path must be the number of a database, got %q", db)
		}
	}
	r.TLS.Enabled = r.TLS.Enabled || u.Scheme == "rediss"
	return nil
}

// overrideRedis makes what VELOCITY_REDIS_URL says the server.
func (l *loader) overrideRedis() {
	const name = "VELOCITY_REDIS_URL"
	value := l.env.values[name]
	if value == "" {
		return
	}
	r := &l.config.Database.Redis
	if *r == nil {
		defaults := l.plans[reflect.TypeFor[Redis]()].zero.Interface().(Redis)
		*r = &defaults
	}
	(*r).URL, (*r).Addresses, (*r).SentinelMaster = Secret(value), nil, ""
	if err := (*r).readURL(); err != nil {
		l.problems = append(l.problems, Problem{File: name, Message: err.Error()})
	}
}
