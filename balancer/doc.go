// Package balancer chooses an endpoint for a request.
//
// It owns the live numbers of each endpoint (weight, health, draining, requests
// in flight) and the algorithms that pick an index from an immutable list of
// endpoints. It does not know addresses, connections, routes or configuration,
// and it never decides whether an endpoint is healthy: it is told.
//
// # Weights and states that change while a picker is in use
//
// Endpoints outlive pickers, and their weight, health and draining flag change
// at any time. A picker does not register with its endpoints. It works from a
// precomputed sequence and remembers the state of each endpoint that the sequence
// was built from; each pick compares one endpoint of the list, by turns, and the
// first that sees a difference rebuilds the sequence while the others carry on
// with the old one. A rebuild is the only thing that allocates.
//
// Whether the chosen endpoint may be used is looked up in every pick: once it is
// down, draining or of weight 0 it is not returned, and the request takes the
// next place of the sequence, so that what an absent endpoint leaves is spread
// over the others by weight. An endpoint that comes back, or whose weight changes,
// has its share within about as many picks as the list is long.
package balancer
