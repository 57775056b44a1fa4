// Package balancer chooses an endpoint for a request.
//
// It owns the live numbers of each endpoint (weight, health, the operator's mode,
// requests in flight, latency) and the algorithms that pick an index from an
// immutable list of endpoints. It does not know addresses, connections, routes or
// configuration, and it never decides whether an endpoint is healthy: it is told.
//
// # Algorithms
//
// Each is in a file of its own: round_robin, random, p2c, least_connections,
// ring, maglev and first_available. All keep to the same rules: an endpoint that
// is unavailable, tried or of weight 0 is not picked, and there is no endpoint
// only if none is left.
//
// A list whose members differ in priority or, if the gateway has a zone, in that
// is divided into levels with a picker of the algorithm each (levels.go). Other
// lists pay nothing for that.
//
// # Weights and states that change while a picker is in use
//
// Endpoints outlive pickers, and their weight, ramp, health and mode change at
// any time. A picker does not register with its endpoints. It works from what was
// computed beforehand (a sequence, a table, the parts of levels, whether health
// is believed) and remembers the state of each endpoint that this was computed
// from; each pick compares one endpoint of the list, by turns or at random, and
// the first that sees a difference computes anew while the others carry on with
// the old (follow.go). That is the only thing that allocates.
//
// Whether the chosen endpoint may be used is looked up in every pick: once it is
// unavailable or of weight 0 it is not returned, and the request takes the next
// place of the sequence, so that what an absent endpoint leaves is spread over the
// others by weight. An endpoint that comes back, or whose weight changes, has its
// share within about as many picks as the list is long.
//
// # Consistent hashes
//
// Tables of ring and maglev depend on identities and weights alone. Building one
// takes a millisecond or a few (BenchmarkBuildTable), so neither health nor the
// steps of a slow start do it: endpoints that are away are passed over in the
// pick, and warming ones take the part of their keys that their ramp allows. When
// a weight changes, one request builds and the others go on.
//
// # Panic
//
// When fewer endpoints are healthy than the panic threshold, health is
// disregarded (panic.go): endpoints are picked whether up or ejected or not. A
// pick that finds nothing available looks whether that is so at once, whatever
// has been noticed.
//
// # Time
//
// Nothing that a pick does reads a clock: times come with the query. Only Ramps,
// which raises the ramp of warming endpoints, has a goroutine and timers.
package balancer
