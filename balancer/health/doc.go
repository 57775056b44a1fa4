// Package health keeps the up flag of endpoints in step with active probes.
//
// It owns when each endpoint is probed, how a probe is judged and the counting of
// successes and failures. It does not choose endpoints, hold connections that
// carry traffic, or know configuration: it is given probes and targets, and all
// that it changes outside itself is balancer.Endpoint.SetUp.
package health
