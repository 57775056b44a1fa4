// Package health keeps the up flag of endpoints in step with active probes.
//
// It owns when each endpoint is probed, how a probe is judged and the counting of
// successes and failures. It does not choose endpoints, hold connections that
// carry traffic, or know configuration: it is given probes and targets, and all
// that it changes outside itself is balancer.Endpoint.SetUp.
//
// # Who decides what
//
// Probing is one of four that may keep traffic away from an endpoint. Each has
// flags of its own in balancer.Endpoint and changes no other's; a request goes to
// an endpoint only if none objects:
//
//	 probes (this package)             requests (package outlier)
//	 a new one                         any
//	  |                                 |
//	  v          1 success              v       5 failures in a row, or an
//	DOWN -----------------------> UP   IN ----- interval with a bad rate ----> OUT
//	  ^                           |     ^                                       |
//	  |  rise successes in a row  |     |   after 30 s x times, 300 s at most   |
//	  |  (FastInterval meanwhile) |     +---------------------------------------+
//	  +---------------------------+
//	     fall failures in a row
//
//	 operator: Enabled | Drained | Disabled       circuit breaker: closed | open
//
//	available = UP and IN and Enabled and closed
//
// So nobody outvotes anybody. A success of a probe does not bring an endpoint
// back that is OUT: its health page may well work while its requests fail. Nor
// does the end of an ejection bring one back that is DOWN. And the operator wins
// over both, because what he takes out stays out however healthy it is, while
// what he leaves in still has to be healthy.
//
// A Drained endpoint is probed on, since sticky clients still use it. A Disabled
// one is not; its flag stays, and the first result after it is enabled again
// decides alone (see Checker.Set and Checker.Wake).
//
// # Many endpoints
//
// One goroutine keeps the time of all endpoints. Each probe that runs has one
// more, a gRPC probe some, and no more than Options.Concurrency probes run:
// goroutines, sockets and the load on what is probed are bounded by that and not
// by the number of endpoints. It also paces the first round, in which all that is
// new is due at once because it takes no traffic before: 10 000 endpoints that
// answer in 5 ms have been probed after 0.2 s with 256 at a time, never with more
// than 256 connections being opened. The second probe of each comes at a random
// time of its interval, so that from then on probes are spread evenly, and ±10 %
// on each later interval keeps other instances of the gateway from falling into
// step.
package health
