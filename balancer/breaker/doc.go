// Package breaker decides whether an endpoint, or a whole upstream, is asked at
// all: a circuit breaker that opens when too many requests fail or are slow.
//
// It owns the counting of outcomes in a rolling window, the conditions that open
// a breaker and its way back. It does not send requests, choose endpoints or
// know what a failure is: it is told the outcome of each request. A Limit, which is
// told the same, adapts how many requests may be in flight at a time.
//
//	                    a condition is met, or Trip
//	       ┌────────┐ ─────────────────────────────────► ┌──────┐
//	       │ closed │                                    │ open │ ◄─────────┐
//	       └────────┘ ◄─── Reset, from any state         └──────┘           │
//	           ▲                                            │ OpenFor       │
//	           │                                            ▼ has passed    │
//	           │    ┌─ half-open ───────────────────────────────────────┐   │
//	           │    │                Probes have                        │   │
//	     Ramp  │    │  ┌─────────┐   succeeded     ┌─────────┐           │   │
//	has passed └────┼──│ ramping │ ◄────────────── │ probing │           │───┘
//	                │  └─────────┘                 └─────────┘           │ a probe fails or is slow,
//	                │  a share that grows          Probes at a time      │ or a condition is met
//	                └────────────────────────────────────────────────────┘
//
// # Use
//
// Who sends a request asks Allow first and gives the Permit back to Record with
// the outcome, exactly once. Permits carry the generation of the breaker's state
// in which they were given: what was sent before the breaker opened says nothing
// about its recovery, and counts for nothing. A closed breaker costs one atomic
// load in Allow.
//
// Time is given by the caller, in nanoseconds of a monotonic clock that starts
// anywhere at or above 0 and is the same for all methods of a breaker.
//
// # When an open breaker's endpoint may be asked again
//
// Changes that are due to the passing of time happen when somebody looks: in
// Allow, Record, State, Status or Poll. An endpoint that is flagged as broken is
// picked by nobody, and so nobody would look; a Watch does, with one goroutine
// for all breakers. The wiring is
//
//	b := breaker.New(settings, func(_, to breaker.State) { endpoint.SetBroken(to == breaker.Open) })
//	watch.Add(b)    // and watch.Remove(b) when the endpoint is retired
//
// While the breaker is half-open the endpoint is picked and Allow decides; a
// request that is refused adds the endpoint to those it has tried and picks
// again.
package breaker
