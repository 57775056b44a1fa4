// Package echo is the sample upstream: a small HTTP server that answers with
// what it received, or with the status, size, delay and framing that the query
// asks for. It lets a newcomer try a route, and a test or benchmark stand
// behind one, without a service of their own.
//
// It owns the answers and their limits. It does not own the listener, the
// command line or TLS, and it is not hardened for a public address.
package echo
