package admin

import "time"

// The kinds of dependencies that the gateway has at present; there may be others.
const (
	KindUpstream  = "upstream"  // named as it is
	KindEndpoint  = "endpoint"  // named by its upstream, a slash and its ID
	KindDiscovery = "discovery" // named by its upstream
	KindRedis     = "redis"
	KindPostgres  = "postgres"
	KindKeySet    = "key_set" // named by its issuer or URL
)

// The states of a Dependency, which those of a Discovery are too.
const (
	DependencyUp       = "up"
	DependencyDegraded = "degraded" // works in part, or with what was known before
	DependencyDown     = "down"
	DependencyUnknown  = "unknown" // not tried yet
)

// Dependency is one thing outside the gateway that requests depend on.
type Dependency struct {
	Kind     string         `json:"kind"`
	Name     string         `json:"name"`
	State    string         `json:"state"`
	Since    *time.Time     `json:"since,omitempty"`   // when State last changed; nil if that is not known
	Error    string         `json:"error,omitempty"`   // why it is not up
	Required bool           `json:"required"`          // by server.ready_requires
	Details  map[string]any `json:"details,omitempty"` // numbers, strings and booleans
}
