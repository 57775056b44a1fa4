package gateway

import (
	"github.com/salgue441/velocity/proxy/upstream"
)

// living holds what outlives a snapshot, by identity. Only apply changes it,
// under the gateway's lock.
type living struct {
	upstreams map[string]*upstream.Upstream
	endpoints map[endpointKey]*upstream.Endpoint
}

// endpointKey is the identity of an endpoint across reloads. Connections,
// health and numbers live on only if all of it is the same.
type endpointKey struct {
	upstream string
	target   string
	settings string // fingerprint of the transport settings
}

func newLiving() living {
	return living{upstreams: map[string]*upstream.Upstream{}, endpoints: map[endpointKey]*upstream.Endpoint{}}
}
