package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Discovery finds the servers of an upstream and follows their changes: exactly one
// of `dns`, `file`, `consul` and `kubernetes`. While the source fails, the last
// servers it knew stay. [discovery.md](discovery.md) explains it.
//
//	upstreams:
//	  - name: users
//	    discovery: {dns: {name: users.service.internal, port: 3000}}
//	  - name: carts
//	    discovery: {kubernetes: {service: carts, namespace: shop, port: http}}
//	routes:
//	  - {path: /users/*, upstream: users}
//	  - {path: /carts/*, upstream: carts}
type Discovery struct {
	// DNS looks a name up.
	DNS *DNSDiscovery `yaml:"dns"`

	// File reads a list of servers.
	File *FileDiscovery `yaml:"file"`

	// Consul asks a Consul agent.
	Consul *ConsulDiscovery `yaml:"consul"`

	// Kubernetes watches the EndpointSlices of a service.
	Kubernetes *KubernetesDiscovery `yaml:"kubernetes"`

	// Scheme is how the servers are spoken to.
	Scheme string `yaml:"scheme" default:"http" enum:"http,https"`

	// Weight is that of servers whose source says none.
	Weight int `yaml:"weight" default:"1" min:"1" max:"65535"`
}

// DNSDiscovery looks a name up again whenever its records expire.
type DNSDiscovery struct {
	// Name is the host name or, for `srv`, the name of the service, such as
	// `_http._tcp.users.internal`.
	Name string `yaml:"name" required:"true"`

	// Type is which records: addresses of a `host`, or `srv`, which has ports,
	// weights and priorities.
	Type string `yaml:"type" default:"host" enum:"host,srv"`

	// Port is the servers' port. Records of `srv` have their own, which it
	// replaces.
	Port int `yaml:"port" default:"0" min:"0" max:"65535"`

	// Family is which addresses of a host are servers: `ipv4`, `ipv6`, `all`, or
	// `auto` for the IPv4 addresses and, if there is none, the IPv6 ones.
	Family string `yaml:"family" default:"auto" enum:"auto,ipv4,ipv6,all"`

	// Servers lists the name servers, each an address with or without a port.
	// Absent, those of /etc/resolv.conf.
	Servers []string `yaml:"servers"`

	// Timeout bounds one question to one name server. 0 means that of
	// /etc/resolv.conf, or 2 s with `servers`.
	Timeout Duration `yaml:"timeout" default:"0s"`

	// MinRefresh is the least time between look-ups, however short records live.
	MinRefresh Duration `yaml:"min_refresh" default:"5s" min:"10ms"`

	// MaxRefresh is the longest time between look-ups, however long records live.
	MaxRefresh Duration `yaml:"max_refresh" default:"5m" min:"10ms"`
}

// FileDiscovery reads a list of servers from a JSON or YAML file and again when it
// changes: entries are URLs, or have `url`, `weight`, `priority` and `zone`.
type FileDiscovery struct {
	// Path names the file.
	Path string `yaml:"path" required:"true"`
}

// ConsulDiscovery asks a Consul agent for the healthy instances of a service, and
// hears of changes at once (blocking queries).
type ConsulDiscovery struct {
	// Address is the agent's URL.
	Address string `yaml:"address" default:"http://127.0.0.1:8500"`

	// Service is the service's name.
	Service string `yaml:"service" required:"true"`

	// Tags lists tags that an instance must have.
	Tags []string `yaml:"tags"`

	// Datacenter is where to look. Absent, where the agent is.
	Datacenter string `yaml:"datacenter"`

	// Namespace and partition are those of Consul Enterprise.
	Namespace string `yaml:"namespace"`

	// Partition is that of Consul Enterprise.
	Partition string `yaml:"partition"`

	// Filter is an expression of Consul's filter language.
	Filter string `yaml:"filter"`

	// IncludeWarning also takes instances whose checks warn.
	IncludeWarning bool `yaml:"include_warning" default:"false"`

	// Token is the ACL token. Give `token` or `token_file`, not both.
	Token Secret `yaml:"token"`

	// TokenFile names a file that holds the token.
	TokenFile string `yaml:"token_file"`

	// CAFile is a PEM bundle that replaces the system's roots.
	CAFile string `yaml:"ca_file"`
}

// KubernetesDiscovery watches the EndpointSlices of a service. Inside a cluster
// server, token and CA are those of the pod's service account.
type KubernetesDiscovery struct {
	// Service is the service's name.
	Service string `yaml:"service" required:"true"`

	// Namespace is the service's namespace. Absent, the pod's own.
	Namespace string `yaml:"namespace"`

	// Port is the name or the number of one of the service's ports. Absent, it
	// must have only one.
	Port string `yaml:"port"`

	// Server is the URL of the API server.
	Server string `yaml:"server"`

	// TokenFile names a file that holds the bearer token; it is read again when it
	// changes.
	TokenFile string `yaml:"token_file"`

	// CAFile is a PEM bundle for the API server's certificate.
	CAFile string `yaml:"ca_file"`
}

func (d *Discovery) check(s scope) {
	var given []string
	for _, key := range []string{"dns", "file", "consul", "kubernetes"} {
		if s.has(key) {
			given = append(given, key)
		}
	}
	switch {
	case len(given) == 0:
		s.problem("", "needs one of dns, file, consul and kubernetes")
	case len(given) > 1:
		s.problem(given[1], "only one of dns, file, consul and kubernetes may be given, and %s is", given[0])
	}
}

func (d *DNSDiscovery) check(s scope) {
	if d.Name != "" && !isDNSName(d.Name) {
		s.problem("name", "%q is not a domain name", d.Name)
	}
	if d.Type == "host" && d.Port == 0 {
		s.problem("port", "is required, unless type is srv")
	}
	for i, server := range d.Servers {
		if !isNameServer(server) {
			s.problem("servers["+strconv.Itoa(i)+"]", "expected an IP address, with or without a port, got %q", server)
		}
	}
	if d.MaxRefresh < d.MinRefresh {
		s.problem("max_refresh", "must not be shorter than min_refresh (%s)", d.MinRefresh)
	}
}

func (f *FileDiscovery) check(s scope) {
	if f.Path != "" {
		f.Path = relativeTo(s.d.file, f.Path) // it may come later
	}
}

func (c *ConsulDiscovery) check(s scope) {
	checkSourceURL(s, "address", c.Address)
	switch {
	case c.Token != "" && c.TokenFile != "":
		s.problem("token_file", "give token or token_file, not both")
	case c.TokenFile != "":
		c.TokenFile = relativeTo(s.d.file, c.TokenFile)
	}
	if c.CAFile != "" {
		checkCAFile(s, "ca_file", &c.CAFile)
	}
}

func (k *KubernetesDiscovery) check(s scope) {
	if k.Server != "" {
		checkSourceURL(s, "server", k.Server)
	}
	if k.TokenFile != "" {
		k.TokenFile = relativeTo(s.d.file, k.TokenFile)
	}
	if k.CAFile != "" {
		checkCAFile(s, "ca_file", &k.CAFile)
	}
}

// checkSourceURL checks the address of an API.
func checkSourceURL(s scope, field, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		s.problem(field, "expected an http or https URL without user and query, got %q", text)
	}
}

// isDNSName reports whether a name may be looked up; labels of services begin with
// an underscore.
func isDNSName(name string) bool {
	return isHostName(strings.ReplaceAll(strings.TrimSuffix(name, "."), "_", "x"))
}

func isNameServer(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return net.ParseIP(text) != nil
	}
	return net.ParseIP(host) != nil && isPort(port)
}
