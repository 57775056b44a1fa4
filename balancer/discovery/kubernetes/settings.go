package kubernetes

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

// What Settings mean when they say nothing.
const (
	DefaultServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	DefaultPause          = time.Second
)

// Family is which addresses of a service are targets.
type Family string

// The families of addresses. Without one IPv4 is taken, and IPv6 if there is no
// IPv4: the slices of a service with both list the same pods twice.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Settings are what to watch and how. Within a cluster only Service is needed.
type Settings struct {
	// Service and Namespace say which; the namespace is the gateway's own if empty,
	// or default outside a cluster.
	Service, Namespace string
	// Port is the name of the service's port, or the number that pods listen on;
	// empty takes the only one.
	Port   string
	Family Family
	// Server is the URL of the API server. Empty means that of the cluster that the
	// gateway runs in, with the token and authority of its service account.
	Server string
	// Token and TLS are for a Server of the settings.
	Token discovery.Token
	TLS   discovery.TLS
	// ServiceAccount is the folder that holds token, ca.crt and namespace.
	ServiceAccount string
	// Pause is the least time between requests, however fast watches end.
	Pause time.Duration
}

func (s Settings) normalized() (Settings, error) {
	if !isLabel(s.Service) {
		return s, fmt.Errorf("service %q is no name of a service", s.Service)
	}
	if s.Namespace != "" && !isLabel(s.Namespace) {
		return s, fmt.Errorf("namespace %q is no name of a namespace", s.Namespace)
	}
	switch s.Family {
	case "", IPv4, IPv6:
	default:
		return s, fmt.Errorf("family %q is neither IPv4 nor IPv6", s.Family)
	}
	if s.Server != "" {
		u, err := url.Parse(s.Server)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
			return s, errors.New("server is not an http or https URL")
		}
		s.Server = strings.TrimSuffix(s.Server, "/")
	}
	if s.ServiceAccount == "" {
		s.ServiceAccount = DefaultServiceAccount
	}
	if s.Pause <= 0 {
		s.Pause = DefaultPause
	}
	return s, nil
}

// isLabel reports whether a string is a DNS label (RFC 1123) in lower case, as
// names in the API are. Nothing in one has a meaning in a URL or a selector.
func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		s[0] != '-' && s[len(s)-1] != '-'
}

// connect makes what requests need, from files as they are now.
func (s Settings) connect() (*api, error) {
	server, token, tls := s.Server, s.Token, s.TLS
	if server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("no server is set, and the gateway does not run in a cluster")
		}
		server = "https://" + net.JoinHostPort(host, port)
		token = discovery.Token{File: filepath.Join(s.ServiceAccount, "token")}
		tls = discovery.TLS{CAFile: filepath.Join(s.ServiceAccount, "ca.crt")}
	}
	client, err := tls.Client()
	if err != nil {
		return nil, err
	}
	return &api{client: client, token: token, url: server + s.path()}, nil
}

// path is that of the service's slices.
func (s Settings) path() string {
	namespace := s.Namespace
	if namespace == "" {
		namespace = "default"
		if own, err := os.ReadFile(filepath.Join(s.ServiceAccount, "namespace")); err == nil && isLabel(strings.TrimSpace(string(own))) {
			namespace = strings.TrimSpace(string(own))
		}
	}
	return "/apis/discovery.k8s.io/v1/namespaces/" + namespace +
		"/endpointslices?labelSelector=" + url.QueryEscape("kubernetes.io/service-name="+s.Service)
}
