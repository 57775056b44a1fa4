package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
	"github.com/salgue441/velocity/proxy"
)

// limitStore shares the counts of limits between gateways.
type limitStore struct {
	syncer      *redis.Syncer
	fingerprint string // of its settings
	server      string // for people
}

// closeStoreTime bounds the last exchange of a store.
const closeStoreTime = time.Second

// planStore returns the store that a configuration wants, which is the living one if
// its settings are the same; nil for none. One that is new does not wait for its
// server.
func (g *Gateway) planStore(c *config.Redis) (*limitStore, error) {
	if c == nil {
		return nil, nil
	}
	o, fingerprint, err := storeOptions(c)
	if err != nil {
		return nil, err
	}
	if s := g.living.store; s != nil && s.fingerprint == fingerprint {
		return s, nil
	}
	o.Now = func() limiter.Instant { return g.proxy.Instant(time.Now()) }
	server := strings.Join(c.Servers(), ", ")
	o.OnChange = func(s redis.State) { g.storeChanged(server, o.OnFailure, s) }
	syncer, err := redis.New(o)
	if err != nil {
		return nil, config.Problems{{File: c.Origin.File, Line: c.Origin.Line, Path: "database.redis", Message: err.Error()}}
	}
	return &limitStore{syncer, fingerprint, server}, nil
}

// storeOptions are the settings of a store and a fingerprint of them. Files count by
// their content.
func storeOptions(c *config.Redis) (redis.Options, string, error) {
	o := redis.Options{
		Addresses: c.Servers(), Cluster: c.Cluster, Master: c.SentinelMaster,
		Username: c.Username, Password: c.Password.Reveal(),
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword.Reveal(),
		DB: c.DB, Prefix: c.Prefix, Nodes: c.Nodes, Interval: time.Duration(c.SyncInterval), Timeout: time.Duration(c.Timeout),
		ExactTimeout: time.Duration(c.ExactTimeout), OnFailure: redis.Failure(c.OnFailure),
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%+v", o)
	if !c.TLS.Enabled {
		return o, hex.EncodeToString(sum.Sum(nil)), nil
	}
	host, _, err := net.SplitHostPort(o.Addresses[0])
	if err != nil {
		return o, "", fmt.Errorf("database.redis: %w", err)
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.TLS.ServerName != "" {
		o.TLS.ServerName = c.TLS.ServerName
	}
	fmt.Fprint(sum, o.TLS.ServerName)
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return o, "", fmt.Errorf("read database.redis.tls.ca_file: %w", err)
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return o, "", errors.New("read database.redis.tls.ca_file: no PEM certificate in " + c.TLS.CAFile)
		}
		sum.Write(pem)
	}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return o, "", fmt.Errorf("read database.redis.tls.cert_file: %w", err)
		}
		o.TLS.Certificates = []tls.Certificate{pair}
		for _, der := range pair.Certificate {
			sum.Write(der)
		}
	}
	return o, hex.EncodeToString(sum.Sum(nil)), nil
}

// shareLimits gives the store the limiters of a plan, before requests come to them,
// and takes its answers where each request is to be asked for.
func (g *Gateway) shareLimits(p *plan, s *limitStore) error {
	if s == nil {
		return nil
	}
	mode := redis.Mode(p.config.Database.Redis.Mode)
	var members []redis.Member
	for _, l := range p.limits {
		for _, lp := range plansOf(l.limit) {
			if lp.Rate != nil {
				members = append(members, redis.Member{Name: l.name + "\x00" + lp.Name, Limiter: lp.Rate, Mode: mode})
			}
			if lp.Held != nil { // divided among the gateways, whatever the mode
				members = append(members, redis.Member{Name: l.name + "\x00" + lp.Name + "\x00held", Limiter: lp.Held})
			}
		}
		if p.config.Database.Redis.OnFailure == "deny" {
			l.limit.Unavailable = func() bool { return !s.syncer.State().Connected }
		}
		if mode == redis.Exact {
			l.limit.Ask = func(_ *proxy.Exchange, of *limiter.Limiter, r *limiter.Request, d *limiter.Decision) bool {
				// Not the request's context: that is used again once it has ended.
				return s.syncer.Decide(context.Background(), of, r, d)
			}
		}
	}
	return s.syncer.Set(members)
}

// adoptStore makes a store the living one and ends the one before.
func (g *Gateway) adoptStore(s *limitStore) {
	before := g.living.store
	if s == before {
		return
	}
	g.living.store = s
	g.store.Store(s)
	if s == nil {
		g.metrics.ObserveStore(nil)
	} else {
		g.metrics.ObserveStore(func() telemetry.StoreState { return storeState(s) })
	}
	if before != nil {
		g.loops.Go(func() { g.closeStore(before) })
	}
}

func (g *Gateway) closeStore(s *limitStore) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeStoreTime)
	defer cancel()
	if err := s.syncer.Close(ctx); err != nil {
		g.log.Warn("redis: the last counts were not told", zap.String("server", s.server), zap.Error(err))
	}
}

func storeState(s *limitStore) telemetry.StoreState {
	state := s.syncer.State()
	return telemetry.StoreState{
		Connected: state.Connected, Degraded: state.Degraded(), Lag: state.Lag(time.Now()), RoundTrip: state.RoundTrip,
		Errors: state.Failures + state.FailedDecisions, Nodes: state.Nodes,
	}
}

// storeView is the store of the limits as management shows it, nil for none.
func (g *Gateway) storeView() *admin.LimitStore {
	s := g.store.Load()
	if s == nil {
		return nil
	}
	state := storeState(s)
	return &admin.LimitStore{
		Connected: state.Connected, Degraded: state.Degraded, LagMS: milliseconds(state.Lag), RoundTripMS: milliseconds(state.RoundTrip),
		Errors: state.Errors, Nodes: state.Nodes,
	}
}

// storeDependency is the store as one of the things that the gateway depends on.
func (g *Gateway) storeDependency() (admin.Dependency, bool) {
	s := g.store.Load()
	if s == nil {
		return admin.Dependency{}, false
	}
	state := s.syncer.State()
	d := admin.Dependency{
		Kind: admin.KindRedis, Name: s.server, State: admin.DependencyUp, Since: &state.Since,
		Details: map[string]any{"nodes": state.Nodes, "round_trip_ms": milliseconds(state.RoundTrip)},
	}
	if !state.Connected {
		d.State, d.Error = admin.DependencyDown, state.Error
	}
	return d, true
}

// storeChanged logs what changed about the store.
func (g *Gateway) storeChanged(server string, onFailure redis.Failure, s redis.State) {
	fields := []zap.Field{zap.String("server", server), zap.Int("nodes", s.Nodes)}
	switch {
	case !s.Connected:
		g.log.Warn("redis cannot be asked: rate limits do not hold across gateways",
			append(fields, zap.String("on_failure", string(onFailure)), zap.String("cause", s.Error))...)
	default:
		g.log.Info("redis answers; rate limits hold across gateways", append(fields, zap.Uint64("losses", s.Losses))...)
	}
}
