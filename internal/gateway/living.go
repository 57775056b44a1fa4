package gateway

import (
	"math/rand/v2"

	"github.com/salgue441/velocity/balancer/discovery"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/upstream"
)

// living holds what outlives a snapshot, by identity. Only apply changes it,
// under the gateway's lock.
type living struct {
	inFlight  map[string]*proxy.InFlight // by route
	upstreams map[string]*upstream.Upstream
	endpoints map[endpointKey]*upstream.Endpoint
	watches   map[string]*discovery.Watch // by upstream
	// discovered is what each upstream's discovery had found when its endpoints
	// were made: it holds for as long as another source has not answered.
	discovered  map[string][]discovery.Target
	verifiers   map[string]*verifier // by the fingerprint of their settings
	store       *limitStore          // nil for none
	limiters    map[limitKey]*limiter.Limiter
	limitCounts map[string]*proxy.LimitCounts // by limit
	seed        uint64                        // of the hash of limited keys
	now         limiter.Instant               // when a configuration is built
	overrides   map[overrideKey]override      // what the operator has decided
}

// endpointKey is the identity of an endpoint across reloads. Connections,
// health and numbers live on only if all of it is the same.
type endpointKey struct {
	upstream string
	target   string
	settings string // fingerprint of the transport settings
}

func newLiving() living {
	return living{
		inFlight: map[string]*proxy.InFlight{}, upstreams: map[string]*upstream.Upstream{}, endpoints: map[endpointKey]*upstream.Endpoint{},
		watches: map[string]*discovery.Watch{}, overrides: map[overrideKey]override{}, discovered: map[string][]discovery.Target{},
		limiters: map[limitKey]*limiter.Limiter{}, limitCounts: map[string]*proxy.LimitCounts{}, seed: rand.Uint64(),
	}
}
