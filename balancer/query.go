package balancer

// Query is what a pick goes by. It is pooled with the request: Pick takes it
// through an interface, so a local variable would move to the heap. Its zero
// value asks for any endpoint. It is not safe for concurrent use.
type Query struct {
	// Tried is the endpoints that the request has already tried.
	Tried Tried
	// Key is a hash of what keeps a caller at one endpoint. Only consistent
	// hashes go by it, and only if HasKey is set: without a key they choose
	// at random by weight.
	Key    uint64
	HasKey bool
	// Now is the time in nanoseconds since an arbitrary moment, the same for
	// all picks and all calls of Endpoint.Observe. Latencies decay by it.
	Now int64
}

// Reset makes the query ready for the next request.
func (q *Query) Reset() { *q = Query{} }
