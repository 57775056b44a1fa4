package health

import (
	"context"
	"crypto/tls"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/salgue441/velocity/balancer"
)

// Defaults of a Probe.
const (
	DefaultMethod   = "GET"
	DefaultPath     = "/"
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = time.Second
	DefaultRise     = 2
	DefaultFall     = 3
)

// Kind is the protocol of a probe.
type Kind uint8

// The kinds of probes.
const (
	// HTTP sends a request over HTTP/1.1.
	HTTP Kind = iota
	// TCP connects, shakes hands with TLS if the target's scheme is https, and may
	// exchange some bytes.
	TCP
	// GRPC calls grpc.health.v1.Health/Check: over TLS if the target's scheme is
	// https, over HTTP/2 with prior knowledge if it is http.
	GRPC
)

// String returns http, tcp or grpc.
func (k Kind) String() string {
	switch k {
	case TCP:
		return "tcp"
	case GRPC:
		return "grpc"
	}
	return "http"
}

// Probe says how the endpoints of an upstream are probed. A field that is zero
// has its default.
type Probe struct {
	Kind Kind // default HTTP
	Port int  // to probe instead of the target's

	Method  string      // HTTP; default GET
	Path    string      // HTTP; with query, if any; default /
	Host    string      // HTTP and GRPC; the Host header or :authority; default the host of the target's URL
	Headers [][2]string // HTTP and GRPC; name and value; a User-Agent here replaces velocity-health

	Interval     time.Duration // from the start of one probe to the next, ±10 %; default 2 s
	DownInterval time.Duration // instead of Interval while the endpoint is down; default Interval
	FastInterval time.Duration // instead of both while results speak for a change that Rise or Fall puts off; default neither
	Timeout      time.Duration // for the whole probe, from dialling to the last byte read; default 1 s

	Rise int // successes in a row that bring an endpoint back; default 2
	Fall int // failures in a row that take it down; default 3

	Expect          []StatusRange  // HTTP; status codes that are a success; default 200 to 399
	ExpectBody      string         // HTTP; to be found in the first 64 KiB of the body; default none
	ExpectBodyRegex *regexp.Regexp // HTTP; to match somewhere in the first 64 KiB of the body; default none

	Send    string // TCP; bytes to send first; default none
	Receive string // TCP; bytes to be found in the first 64 KiB of the answer; default none

	Service string // GRPC; the service to ask for; default the server as a whole
}

// StatusRange is the status codes from From to To, both included.
type StatusRange struct{ From, To int }

// withDefaults returns a copy that shares no memory with p.
func (p Probe) withDefaults() Probe {
	if p.Method == "" {
		p.Method = DefaultMethod
	}
	if !strings.HasPrefix(p.Path, "/") {
		p.Path = "/" + p.Path
	}
	if p.Interval <= 0 {
		p.Interval = DefaultInterval
	}
	if p.DownInterval <= 0 {
		p.DownInterval = p.Interval
	}
	if p.Timeout <= 0 {
		p.Timeout = DefaultTimeout
	}
	if p.Rise <= 0 {
		p.Rise = DefaultRise
	}
	if p.Fall <= 0 {
		p.Fall = DefaultFall
	}
	p.Headers = slices.Clone(p.Headers)
	p.Expect = slices.Clone(p.Expect)
	if len(p.Expect) == 0 {
		p.Expect = []StatusRange{{200, 399}}
	}
	return p
}

// equal compares expressions by their text: those of two reloads are not the same
// object.
func (p Probe) equal(other Probe) bool {
	if p.expression() != other.expression() {
		return false
	}
	p.ExpectBodyRegex, other.ExpectBodyRegex = nil, nil
	return reflect.DeepEqual(p, other)
}

func (p Probe) expression() string {
	if p.ExpectBodyRegex == nil {
		return ""
	}
	return p.ExpectBodyRegex.String()
}

// expects reports whether a status code is a success.
func (p Probe) expects(status int) bool {
	for _, r := range p.Expect {
		if r.From <= status && status <= r.To {
			return true
		}
	}
	return false
}

// Target is one endpoint to probe. Within an upstream it is identified by its
// Endpoint alone.
type Target struct {
	URL      string // scheme, host and port: http://127.0.0.1:3000
	ProbeURL string // to probe instead of URL, if it is elsewhere that health is told; usually none
	Endpoint *balancer.Endpoint
	TLS      *tls.Config // for https; nil verifies against the system's roots
	Preface  string      // bytes to send before all else, TLS included; usually none
}

// Prober sends one probe. The probe has all defaults filled in; the context ends
// with its time limit. A nil error is a success, any other a failure whose text
// becomes the cause that people see.
type Prober interface {
	Probe(ctx context.Context, probe Probe, target Target) error
}

// Result is how one probe ended.
type Result struct {
	Upstream string
	Target   Target
	Err      error // nil after a success
	Latency  time.Duration
}

// Event is one endpoint that went up or down.
type Event struct {
	Upstream string
	Target   Target
	Up       bool
	Cause    string    // why the last probe failed; empty when Up
	Since    time.Time // when it changed
}

// Status is what is known about one endpoint.
type Status struct {
	URL       string
	Up        bool
	Paused    bool          // not probed, because the endpoint is disabled
	Since     time.Time     // of the last change, or of the first Set if there was none
	Cause     string        // why the last probe failed; empty if it succeeded or there was none
	Succeeded int           // successes in a row
	Failed    int           // failures in a row
	Probed    time.Time     // end of the last probe; zero before the first
	Latency   time.Duration // of the last probe
}
