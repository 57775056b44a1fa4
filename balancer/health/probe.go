package health

import (
	"context"
	"crypto/tls"
	"reflect"
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

// Probe says how the endpoints of an upstream are probed. A field that is zero
// has its default.
type Probe struct {
	Method  string      // default GET
	Path    string      // with query, if any; default /
	Host    string      // value of the Host header; default the host of the target's URL
	Headers [][2]string // name and value; a User-Agent here replaces velocity-health

	Interval time.Duration // from the start of one probe to the next, ±10 %; default 2 s
	Timeout  time.Duration // for the whole probe, from dialling to the last byte read; default 1 s

	Rise int // successes in a row that bring an endpoint back; default 2
	Fall int // failures in a row that take it down; default 3

	Expect []StatusRange // status codes that are a success; default 200 to 399
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

func (p Probe) equal(other Probe) bool { return reflect.DeepEqual(p, other) }

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
	Since     time.Time     // of the last change, or of the first Set if there was none
	Cause     string        // why the last probe failed; empty if it succeeded or there was none
	Succeeded int           // successes in a row
	Failed    int           // failures in a row
	Probed    time.Time     // end of the last probe; zero before the first
	Latency   time.Duration // of the last probe
}
