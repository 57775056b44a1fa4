package consul

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

// What Settings mean when they say nothing.
const (
	DefaultAddress = "http://127.0.0.1:8500"
	DefaultWait    = 5 * time.Minute
	MaxWait        = 10 * time.Minute // more is not granted
	DefaultPause   = 500 * time.Millisecond
)

// Consistency is how sure an answer must be.
type Consistency string

// The modes of consistency.
const (
	// Stale lets any server answer, also one that has lost its leader: answers go on
	// when most servers are gone. It is what an empty setting means.
	Stale Consistency = "stale"
	// Default asks the leader, Consistent one that has made sure that it is.
	Default    Consistency = "default"
	Consistent Consistency = "consistent"
)

// Settings are what to watch and how. Only Service is needed.
type Settings struct {
	// Address is the agent's URL.
	Address string
	// Service is the service's name.
	Service string
	// Tags are what instances must have, all of them.
	Tags []string
	// Datacenter, Namespace and Partition are those of the agent if empty; the last
	// two exist in the enterprise edition only.
	Datacenter, Namespace, Partition string
	// Filter is an expression that the agent selects instances by.
	Filter string
	// Warning takes instances of which a check warns, too.
	Warning bool
	// Token is sent as X-Consul-Token.
	Token discovery.Token
	// Consistency is how sure answers must be.
	Consistency Consistency
	// Wait is how long a query blocks; 0 means DefaultWait.
	Wait time.Duration
	// Pause is the least time between queries, however fast answers come: an index
	// that never stands still must not keep the agent busy; 0 means DefaultPause.
	Pause time.Duration
	// TLS is for an https address.
	TLS discovery.TLS
}

func (s Settings) normalized() (Settings, error) {
	if s.Service == "" {
		return s, errors.New("no service")
	}
	if s.Address == "" {
		s.Address = DefaultAddress
	}
	u, err := url.Parse(s.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return s, errors.New("address is not an http or https URL of a server")
	}
	s.Address = strings.TrimSuffix(s.Address, "/")
	switch s.Consistency {
	case "":
		s.Consistency = Stale
	case Stale, Default, Consistent:
	default:
		return s, fmt.Errorf("consistency %q is none of stale, default and consistent", s.Consistency)
	}
	if s.Wait <= 0 {
		s.Wait = DefaultWait
	}
	s.Wait = min(s.Wait, MaxWait)
	if s.Pause <= 0 {
		s.Pause = DefaultPause
	}
	return s, nil
}

// url is that of the query, without what changes from one to the next.
func (s Settings) url() string {
	q := url.Values{}
	for name, value := range map[string]string{"dc": s.Datacenter, "ns": s.Namespace, "partition": s.Partition, "filter": s.Filter} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, tag := range s.Tags {
		q.Add("tag", tag)
	}
	if !s.Warning {
		q.Set("passing", "true")
	}
	if s.Consistency != Default {
		q.Set(string(s.Consistency), "")
	}
	q.Set("wait", s.Wait.String())
	return s.Address + "/v1/health/service/" + url.PathEscape(s.Service) + "?" + q.Encode()
}
