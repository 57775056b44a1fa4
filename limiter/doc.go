// Package limiter decides whether a request may go ahead.
//
// It owns the algorithms, the counts per key, and the memory they live in. It does
// not know what a key is made of, routes, configuration, or any clock: the caller
// hashes the key and passes the time. It never waits, and starts no goroutine.
package limiter
