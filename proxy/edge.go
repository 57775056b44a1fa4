package proxy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/salgue441/velocity/proxy/syntax"
)

// CORSPolicy is the CORS protocol (Fetch standard section 3.3) of a route.
type CORSPolicy struct {
	// Origins are exact origins, "*", origins with a wildcard label
	// ("https://*.example.com") or "~" and an RE2 expression for the whole
	// origin.
	Origins []string
	// Methods and Headers are what a preflight allows. "*" in Headers allows
	// what the client asks for.
	Methods, Headers []string
	// Exposed are the response fields that scripts may read.
	Exposed []string
	// Credentials allows cookies and authorization. It excludes "*".
	Credentials bool
	// MaxAge is how long a browser may keep a preflight's answer. Zero forbids
	// it.
	MaxAge time.Duration
	// PrivateNetwork grants access to a private network from a public page.
	PrivateNetwork bool
}

// cors is a CORSPolicy, compiled. It answers preflights on the way in and adds
// the response fields on the way out, errors included, so that a script can
// read them.
type cors struct {
	any            bool
	exact          []string
	suffixes       []wildcardOrigin
	patterns       []*regexp.Regexp
	methods        []byte
	headers        []byte
	echoHeaders    bool
	exposed        []byte
	maxAge         []byte
	credentials    bool
	privateNetwork bool
}

// wildcardOrigin is https://*.example.com taken apart.
type wildcardOrigin struct{ prefix, suffix string }

// NewCORSPhase compiles a policy. It returns every problem, joined.
func NewCORSPhase(p CORSPolicy) (Phase, error) {
	c := &cors{
		methods:        []byte(strings.Join(p.Methods, ", ")),
		headers:        []byte(strings.Join(p.Headers, ", ")),
		exposed:        []byte(strings.Join(p.Exposed, ", ")),
		maxAge:         strconv.AppendInt(nil, int64(p.MaxAge/time.Second), 10),
		credentials:    p.Credentials,
		privateNetwork: p.PrivateNetwork,
	}
	var errs []error
	for _, h := range p.Headers {
		if h == "*" {
			c.echoHeaders = true
		}
	}
	for _, o := range p.Origins {
		switch {
		case o == "*":
			c.any = true
		case strings.HasPrefix(o, "~"):
			re, err := regexp.Compile("^(?:" + o[1:] + ")$")
			if err != nil {
				errs = append(errs, fmt.Errorf("compile CORS origin %q: %w", o, err))
				continue
			}
			c.patterns = append(c.patterns, re)
		case strings.Contains(o, "*"):
			prefix, suffix, _ := strings.Cut(strings.ToLower(o), "*")
			c.suffixes = append(c.suffixes, wildcardOrigin{prefix, suffix})
		default:
			c.exact = append(c.exact, strings.ToLower(o))
		}
	}
	if c.any && c.credentials {
		errs = append(errs, errors.New("compile CORS policy: any origin with credentials would open every user's session to every site"))
	}
	return Phase{Slot: Arrive, Name: "cors", Request: c, Response: c}, errors.Join(errs...)
}

// allows reports whether the policy lets scripts of an origin in.
func (c *cors) allows(o []byte) bool {
	if c.any {
		return true
	}
	for _, e := range c.exact {
		if syntax.EqualName(o, e) || string(o) == e {
			return true
		}
	}
	for _, w := range c.suffixes {
		// The wildcard stands for at least one character, and for no slash
		// or colon: it cannot reach into the scheme or the port.
		n := len(o) - len(w.prefix) - len(w.suffix)
		if n > 0 && string(o[:len(w.prefix)]) == w.prefix && string(o[len(w.prefix)+n:]) == w.suffix &&
			!containsAny(o[len(w.prefix):len(w.prefix)+n], "/:@") {
			return true
		}
	}
	for _, re := range c.patterns {
		if re.Match(o) {
			return true
		}
	}
	return false
}

func containsAny(b []byte, chars string) bool {
	for _, c := range b {
		if strings.IndexByte(chars, c) >= 0 {
			return true
		}
	}
	return false
}

// Enter answers a preflight with 204; the fields come with Leave. A preflight
// from an origin that is not allowed gets no permission and so fails in the
// browser.
func (c *cors) Enter(x *Exchange) Verdict {
	if !x.preflight {
		return Continue
	}
	OwnResponse(x.Ctx)
	x.Ctx.Response.SetStatusCode(204)
	c.Leave(x)
	return Respond
}

// Leave adds the fields to a response. Vary is there with and without an
// Origin, so that no cache gives one origin's answer to another.
func (c *cors) Leave(x *Exchange) {
	h := &x.Ctx.Response.Header
	if !c.any {
		h.AddBytesKV(headerVary, valueOrigin)
	}
	// The gateway's policy is the only one: an upstream's is not mixed in.
	h.DelBytes(headerAllowOrigin)
	h.DelBytes(headerAllowCredentials)
	h.DelBytes(headerExposeHeaders)
	o := x.fields.value(origin)
	if o == nil || !c.allows(o) {
		return
	}
	if c.any {
		o = valueAny
	}
	h.SetBytesKV(headerAllowOrigin, o)
	if c.credentials {
		h.SetBytesKV(headerAllowCredentials, valueTrue)
	}
	if !x.preflight {
		if len(c.exposed) > 0 {
			h.SetBytesKV(headerExposeHeaders, c.exposed)
		}
		return
	}
	h.SetBytesKV(headerAllowMethods, c.methods)
	if c.echoHeaders {
		if asked, ok := x.fields.Header("Access-Control-Request-Headers"); ok {
			h.SetBytesKV(headerAllowHeaders, asked)
			h.AddBytesKV(headerVary, valueRequestHeaders)
		}
	} else if len(c.headers) > 0 {
		h.SetBytesKV(headerAllowHeaders, c.headers)
	}
	if _, ok := x.fields.Header("Access-Control-Request-Private-Network"); ok && c.privateNetwork {
		h.SetBytesKV(headerAllowPrivateNetwork, valueTrue)
	}
	h.SetBytesKV(headerMaxAge, c.maxAge)
}

var (
	headerVary                = []byte("Vary")
	headerAllowOrigin         = []byte("Access-Control-Allow-Origin")
	headerAllowCredentials    = []byte("Access-Control-Allow-Credentials")
	headerAllowMethods        = []byte("Access-Control-Allow-Methods")
	headerAllowHeaders        = []byte("Access-Control-Allow-Headers")
	headerExposeHeaders       = []byte("Access-Control-Expose-Headers")
	headerAllowPrivateNetwork = []byte("Access-Control-Allow-Private-Network")
	headerMaxAge              = []byte("Access-Control-Max-Age")
	valueOrigin               = []byte("Origin")
	valueRequestHeaders       = []byte("Access-Control-Request-Headers")
	valueAny                  = []byte("*")
	valueTrue                 = []byte("true")
)
