// Package consul discovers targets by the instances of a service that a Consul
// agent holds for healthy.
//
// It owns the blocking queries on /v1/health/service: the index and its rules, how
// long to wait, how often to ask at most. It speaks the HTTP API directly: one
// endpoint of it is needed, for which the official client would bring a dozen
// modules and a second logger.
package consul
