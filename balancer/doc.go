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
// at any time. A picker does not register with its endpoints. Instead it works
// from a precomputed sequence, remembers the state of every endpoint that the
// sequence was built from, and compares on each pick: the endpoint it is about
// to return, and one other in turn. The first pick that sees a difference
// rebuilds the sequence while the others carry on with the old one.
//
// So an endpoint that goes down, drains or drops to weight 0 is never returned
// after the change is visible, and one that comes back, or whose weight changes,
// has its share within about as many picks as the list is long. What an absent
// endpoint leaves is spread over the others by their weights. A rebuild is the
// only thing that allocates.
package balancer
