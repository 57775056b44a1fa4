package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Listener is a socket that takes traffic. A reload opens the listeners that
// are new and closes those that are gone; connections live on.
//
//	server:
//	  listeners:
//	    - address: "[::]:8080"
//	      proxy_protocol: {trusted: [10.0.0.0/8]}
//	    - address: unix:/run/velocity/gateway.sock
type Listener struct {
	// Address is `host:port` with an IP address, a host name or nothing before
	// the colon (`0.0.0.0:8080`, `[::1]:8080`, `:8080`), `unix:` and the
	// absolute path of a Unix socket, or `fd:` and the name of a socket that
	// systemd passes. `[::]:8080` and `:8080` listen on IPv4 too.
	Address string `yaml:"address" required:"true"`

	// ReusePort opens this many sockets for the address with `SO_REUSEPORT`
	// (Linux), among which the kernel spreads connections. 0 opens one without
	// it.
	ReusePort int `yaml:"reuse_port" default:"0" min:"0" max:"256"`

	// ProxyProtocol takes the client's address from the PROXY header that a
	// load balancer puts before the first byte. Absent, none is read.
	ProxyProtocol *ProxyProtocol `yaml:"proxy_protocol"`

	// Mode is the permissions of a Unix socket's file, in octal.
	Mode FileMode `yaml:"mode" default:"0660"`
}

// ProxyProtocol reads the PROXY header (versions 1 and 2). A connection of a
// trusted peer must start with one and is closed otherwise; that of any other
// peer is served as it is, and a header on it is a bad request.
type ProxyProtocol struct {
	// Trusted lists the addresses and CIDRs of the load balancers. It is needed
	// on an IP address and not allowed on a Unix socket, where the file's
	// permissions say who may connect.
	Trusted []netip.Prefix `yaml:"trusted"`
}

// FileMode is the permissions of a file, written in octal as `0660`.
type FileMode uint32

// String writes the mode as the document does.
func (m FileMode) String() string { return "0" + strconv.FormatUint(uint64(m), 8) }

// MarshalText writes the mode as the document does.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Kinds of listener addresses, as Split returns them.
const (
	// ListenTCP is host:port.
	ListenTCP = "tcp"
	// ListenUnix is the path of a Unix socket.
	ListenUnix = "unix"
	// ListenFD is the name of a socket that systemd passes.
	ListenFD = "fd"
)

// Split returns the kind of the address (ListenTCP, ListenUnix, ListenFD) and
// the address without it.
func (l *Listener) Split() (kind, address string) {
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		return ListenUnix, path
	}
	if name, ok := strings.CutPrefix(l.Address, "fd:"); ok {
		return ListenFD, name
	}
	return ListenTCP, l.Address
}

// Listening returns what to listen on: Listeners, or else one listener for
// Host and Port.
func (s *Server) Listening() []Listener {
	if len(s.Listeners) > 0 {
		return s.Listeners
	}
	return []Listener{{Address: net.JoinHostPort(s.Host, strconv.Itoa(s.Port))}}
}

func (l *Listener) check(s scope) {
	kind, address := l.Split()
	switch kind {
	case ListenTCP:
		host, port, err := net.SplitHostPort(address)
		if l.Address != "" && (err != nil || host != "" && !isListenHost(host) || port != "0" && !isPort(port)) {
			s.problem("address", "expected an address such as 0.0.0.0:8080, [::]:8080 or unix:/run/velocity.sock, got %q", l.Address)
		}
	case ListenUnix:
		// The kernel has room for 108 bytes with a zero at the end.
		if !filepath.IsAbs(address) || len(address) > 107 {
			s.problem("address", "expected an absolute path of at most 107 bytes after unix:, got %q", address)
		}
	case ListenFD:
		if address == "" || strings.Contains(address, ":") {
			s.problem("address", "expected the name of a systemd socket after fd:, got %q", address)
		}
	}
	if l.ReusePort > 0 && kind != ListenTCP {
		s.problem("reuse_port", "needs an address of the form host:port")
	}
	if s.has("mode") && kind != ListenUnix {
		s.problem("mode", "needs an address of the form unix:/path")
	}
	if p := l.ProxyProtocol; p != nil {
		switch {
		case kind == ListenUnix && len(p.Trusted) > 0:
			s.problem("proxy_protocol.trusted", "has no meaning on a Unix socket: all its peers are trusted")
		case kind == ListenTCP && len(p.Trusted) == 0:
			s.problem("proxy_protocol.trusted", "needs at least one address or CIDR")
		}
	}
}

// checkListeners checks what is between listeners, and beside them.
func checkListeners(s scope, c *Config) {
	srv := &c.Server
	if len(srv.Listeners) > 0 {
		for _, key := range []string{"host", "port"} {
			if _, override := s.d.overrides["server."+key]; override || s.below("server").has(key) {
				s.problem("server."+key, "has no effect beside server.listeners; give one or the other")
			}
		}
	}
	seen := map[string]bool{}
	for i := range srv.Listeners {
		l := &srv.Listeners[i]
		if l.Address != "" && seen[l.Address] {
			s.problem("server.listeners["+strconv.Itoa(i)+"].address", "%s is listed twice", l.Address)
		}
		seen[l.Address] = true
	}
	if path := srv.TakeoverSocket; path != "" && path != "off" && (!filepath.IsAbs(path) || len(path) > 107-takeoverSuffix) {
		s.problem("server.takeover_socket", "expected off or an absolute path of at most %d bytes, got %q", 107-takeoverSuffix, path)
	}
	checkAdminPort(s, c)
}

// takeoverSuffix is room for the name under which the socket is made before it
// is renamed.
const takeoverSuffix = 12

// checkAdminPort reports a port that is wanted for traffic and for management.
func checkAdminPort(s scope, c *Config) {
	if !c.Admin.Enabled || c.Admin.Port == 0 {
		return
	}
	for i, l := range c.Server.Listening() {
		kind, address := l.Split()
		host, port, err := net.SplitHostPort(address)
		if kind != ListenTCP || err != nil || port != strconv.Itoa(c.Admin.Port) || !overlap(c.Admin.Host, host) {
			continue
		}
		switch {
		case s.below("admin").has("port"):
			s.problem("admin.port", "is also a port for traffic; the two listeners need ports of their own")
		case len(c.Server.Listeners) > 0:
			s.problem("server.listeners["+strconv.Itoa(i)+"].address", "%s is also admin.port; the two listeners need ports of their own", address)
		default:
			s.problem("server.port", "is also admin.port; the two listeners need ports of their own")
		}
		return
	}
}
