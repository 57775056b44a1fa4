package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/balancer/breaker"
	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/balancer/health"
	"github.com/salgue441/velocity/balancer/health/outlier"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/transform"
	"github.com/salgue441/velocity/proxy/upstream"
)

// plannedUpstream is an upstream and what it is about to get.
type plannedUpstream struct {
	config   *config.Upstream
	upstream *upstream.Upstream
	state    *upstream.State
	limits   upstream.Limits
	keys     []endpointKey // of the state's endpoints, in its order
	members  []config.Target
	watch    *discovery.Watch // nil without discovery
	found    []discovery.Target

	probe         *health.Probe          // nil without a health check
	outliers      *outlier.Settings      // nil without outlier detection
	breaker       *breaker.Settings      // of the upstream; nil for none
	serverBreaker *breaker.Settings      // of each endpoint; nil for none
	adaptive      *breaker.LimitSettings // nil for none
	slowStart     balancer.SlowStart
}

// buildUpstreams plans the named upstreams.
func (b *builder) buildUpstreams() map[string]*config.Upstream {
	named := make(map[string]*config.Upstream, len(b.config.Upstreams))
	for i := range b.config.Upstreams {
		c := &b.config.Upstreams[i]
		named[c.Name] = c
		b.buildUpstream(c, func(field, message string) {
			b.problems = append(b.problems, b.config.UpstreamProblemAt(i, field, message, false))
		})
	}
	return named
}

// buildUpstream plans one upstream and returns it, nil after a problem.
func (b *builder) buildUpstream(c *config.Upstream, problem func(field, message string)) *upstream.Upstream {
	settings, fingerprint, err := transportSettings(c)
	if err != nil {
		problem("tls", err.Error())
		return nil
	}
	p := plannedUpstream{
		config: c, upstream: b.living.upstreams[c.Name], watch: b.living.watches[c.Name], probe: healthProbe(c.HealthCheck), outliers: outlierSettings(&c.OutlierDetection),
		limits: upstream.Limits{
			MaxInFlight: c.MaxInFlight, QueueSize: c.Queue.Size, QueueTimeout: time.Duration(c.Queue.Timeout),
		},
		slowStart: balancer.SlowStart{
			Window: time.Duration(c.Balance.SlowStart.Window), Aggression: c.Balance.SlowStart.Aggression, Floor: c.Balance.SlowStart.MinPercent,
		},
	}
	if p.upstream == nil {
		p.upstream = upstream.New(c.Name)
	}
	if k := c.CircuitBreaker; k != nil {
		p.breaker, p.serverBreaker = breakerSettings(k.Upstream), breakerSettings(k.Server)
	}
	if a := c.AdaptiveConcurrency; a != nil {
		p.adaptive = &breaker.LimitSettings{Min: a.Min, Max: a.Max}
	}
	if c.Discovery != nil {
		if _, err := discoverySource(c.Discovery); err != nil {
			problem("discovery", err.Error())
			return nil
		}
	}
	p.found = b.found(c)
	p.members = targets(c, p.found)
	var members []upstream.Member
	for i, t := range p.members {
		key := endpointKey{c.Name, t.URL, fingerprint}
		e, err := b.endpoint(key, t, c.HealthCheck != nil, settings)
		if err != nil {
			problem("targets["+strconv.Itoa(i)+"].url", err.Error())
			continue
		}
		p.keys = append(p.keys, key)
		members = append(members, upstream.Member{Endpoint: e, Priority: t.Priority, Zone: t.Zone, Tag: stickyTag(c, t.URL)})
	}
	balance := balancer.Settings{
		Algorithm: c.Balance.Algorithm, Overprovision: c.Balance.Overprovision, Panic: c.Balance.PanicThreshold, BalanceFactor: c.Balance.MaxLoad,
	}
	if c.Balance.PreferZone {
		balance.Zone = b.config.Server.Zone
	}
	if p.state, err = upstream.NewState(balance, members...); err != nil {
		problem("balance", err.Error())
		return nil
	}
	b.plan.upstreams = append(b.plan.upstreams, p)
	return p.upstream
}

// endpoint returns the living endpoint of that identity or a new one. A new one
// with a health check is down until its first success, unless only its
// connections' settings are new.
func (b *builder) endpoint(key endpointKey, t config.Target, checked bool, s upstream.Settings) (*upstream.Endpoint, error) {
	e := b.living.endpoints[key]
	if e == nil {
		before := b.predecessor(key)
		live := balancer.NewEndpoint(t.Weight, !checked || before != nil && before.Live.Up())
		var err error
		if e, err = upstream.NewEndpoint(t.URL, live, b.registry.Endpoint(key.upstream, t.URL), s); err != nil {
			return nil, err
		}
	}
	b.plan.endpoints[key] = e
	return e, nil
}

// predecessor is a living endpoint of the same upstream and address, with
// whatever settings; nil if there is none.
func (b *builder) predecessor(key endpointKey) *upstream.Endpoint {
	if b.addresses == nil {
		b.addresses = make(map[[2]string]*upstream.Endpoint, len(b.living.endpoints))
		for key, e := range b.living.endpoints {
			b.addresses[[2]string{key.upstream, key.target}] = e
		}
	}
	return b.addresses[[2]string{key.upstream, key.target}]
}

// stickyTag names an endpoint in a sticky cookie. Without the secret it can be
// neither made nor traced to an address.
func stickyTag(c *config.Upstream, target string) string {
	s := c.Balance.Sticky
	if s == nil {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(s.Secret.Reveal()))
	mac.Write([]byte(c.Name + "\x00" + target))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// destination is an upstream as requests see it.
func destination(c *config.Upstream, u *upstream.Upstream) proxy.Destination {
	d := proxy.Destination{
		Upstream:     u,
		ReplyTimeout: time.Duration(c.ResponseTimeout), FirstByteTimeout: time.Duration(c.FirstByteTimeout),
	}
	if a := c.Balance.Algorithm; a == balancer.Ring || a == balancer.Maglev {
		t, err := transform.ParseTemplate(string(c.Balance.HashOn))
		if err != nil {
			panic("BUG: validated hash_on: " + err.Error())
		}
		d.HashOn = t
	}
	if s := c.Balance.Sticky; s != nil {
		d.Sticky = &proxy.Sticky{Name: s.Cookie, Attributes: cookieAttributes(s)}
	}
	return d
}

// cookieAttributes is what follows the value in Set-Cookie.
func cookieAttributes(s *config.Sticky) string {
	c := http.Cookie{ //nolint:gosec // the operator says which attributes it has
		Name: "c", Value: "v", Path: s.Path, Domain: s.Domain, Secure: s.Secure, HttpOnly: s.HTTPOnly,
		MaxAge: int(math.Ceil(time.Duration(s.TTL).Seconds())),
	}
	switch s.SameSite {
	case "strict":
		c.SameSite = http.SameSiteStrictMode
	case "none":
		c.SameSite = http.SameSiteNoneMode
	default:
		c.SameSite = http.SameSiteLaxMode
	}
	return c.String()[len("c=v"):]
}

func healthProbe(c *config.HealthCheck) *health.Probe {
	if c == nil {
		return nil
	}
	p := &health.Probe{
		Method: c.Method, Path: c.Path, Host: c.Host, Service: c.Service, Port: c.Port, Send: c.Send,
		Interval: time.Duration(c.Interval), Timeout: time.Duration(c.Timeout),
		DownInterval: time.Duration(c.DownInterval), FastInterval: time.Duration(c.FastInterval),
		Rise: c.Rise, Fall: c.Fall,
	}
	switch c.Type {
	case "tcp":
		p.Kind, p.Receive = health.TCP, c.ExpectedBody
	case "grpc":
		p.Kind = health.GRPC
	default:
		p.ExpectBody = c.ExpectedBody
	}
	if c.ExpectedBodyRegex != "" {
		p.ExpectBodyRegex = regexp.MustCompile(c.ExpectedBodyRegex) // validated
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		p.Headers = append(p.Headers, [2]string{name, c.Headers[name]})
	}
	for _, r := range c.ExpectedStatuses {
		p.Expect = append(p.Expect, health.StatusRange{From: r.From, To: r.To})
	}
	return p
}

func outlierSettings(c *config.OutlierDetection) *outlier.Settings {
	if !c.Enabled {
		return nil
	}
	return &outlier.Settings{
		ObserveOnly: c.ObserveOnly, SplitLocal: c.SplitLocal,
		Consecutive5xx:     orOff(c.Consecutive5xx),
		ConsecutiveGateway: orOff(c.ConsecutiveGatewayErrors),
		ConsecutiveLocal:   orOff(c.ConsecutiveLocalErrors),
		Interval:           time.Duration(c.Interval),
		BaseEjection:       time.Duration(c.BaseEjectionTime),
		MaxEjection:        time.Duration(c.MaxEjectionTime),
		EjectionJitter:     time.Duration(c.EjectionJitter),
		MaxEjectionPercent: orOff(c.MaxEjectedPercent),
		SuccessRate: outlier.Rate{
			Disabled: !c.SuccessRate.Enabled, MinHosts: c.SuccessRate.MinServers, RequestVolume: c.SuccessRate.MinRequests,
			StdevFactor: int(math.Round(1000 * c.SuccessRate.StdevFactor)),
		},
		FailurePercentage: outlier.Percentage{
			Enabled: c.FailurePercentage.Enabled, Threshold: c.FailurePercentage.Threshold,
			MinHosts: c.FailurePercentage.MinServers, RequestVolume: c.FailurePercentage.MinRequests,
		},
	}
}

// orOff is a number of which the configuration's zero switches a rule off.
func orOff(n int) int {
	if n == 0 {
		return outlier.Off
	}
	return n
}

func breakerSettings(c *config.Breaker) *breaker.Settings {
	if c == nil {
		return nil
	}
	s := &breaker.Settings{
		Window: time.Duration(c.Window), MinRequests: c.MinRequests, ErrorRatio: c.ErrorPercent,
		LatencyLimit: time.Duration(c.LatencyLimit), LatencyQuantile: c.LatencyPercentile, ConsecutiveFailures: c.ConsecutiveFailures,
		OpenFor: time.Duration(c.OpenFor), MaxOpenFor: time.Duration(c.MaxOpenFor), Probes: c.Probes, Ramp: time.Duration(c.Ramp),
	}
	if s.Ramp == 0 {
		s.Ramp = -1
	}
	return s
}

// transportSettings returns the settings of an upstream's connections and a
// fingerprint of them. A CA file counts by its content: a renewed one makes
// new endpoints.
func transportSettings(c *config.Upstream) (upstream.Settings, string, error) {
	s := upstream.Settings{
		ConnectTimeout:   time.Duration(c.ConnectTimeout),
		MaxConnections:   c.Pool.MaxConnections,
		MaxWait:          time.Duration(c.Pool.MaxWait),
		IdleTimeout:      time.Duration(c.Pool.IdleTimeout),
		MaxLifetime:      time.Duration(c.Pool.MaxLifetime),
		DisableKeepAlive: !c.Pool.KeepAlive,
		ProxyProtocol:    proxyVersion(c.ProxyProtocol),
	}
	var ca []byte
	if c.TLS.CAFile != "" || c.TLS.ServerName != "" {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	}
	if c.TLS.CAFile != "" {
		var err error
		if ca, err = os.ReadFile(c.TLS.CAFile); err != nil {
			return s, "", fmt.Errorf("read ca_file: %w", err)
		}
		s.TLS.RootCAs = x509.NewCertPool()
		if !s.TLS.RootCAs.AppendCertsFromPEM(ca) {
			return s, "", errors.New("read ca_file: no PEM certificate in " + c.TLS.CAFile)
		}
	}
	fingerprint := fmt.Sprint(s.ConnectTimeout, s.MaxConnections, s.MaxWait, s.IdleTimeout, s.MaxLifetime, s.DisableKeepAlive, s.ProxyProtocol,
		c.TLS.ServerName, string(ca))
	return s, fingerprint, nil
}

func proxyVersion(text string) int {
	switch text {
	case "v1":
		return 1
	case "v2":
		return 2
	}
	return 0
}
