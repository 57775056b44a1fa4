// Package limiter decides whether a request may go ahead.
//
// It owns the algorithms, the counts per key, and the memory they live in. It does
// not know what a key is made of, routes, configuration, or any clock: the caller
// hashes the key and passes the time. It never waits, and starts no goroutine.
//
// # What is promised
//
// Every algorithm but SlidingWindow is exact, and SlidingWindow is its estimate
// exactly. Sums are kept in whole parts of a unit, so nothing is rounded and no
// drift adds up. Against a naive implementation behind one lock, that is
// given the requests in the order of their decisions, and whose clock stands
// still when a reading is older than the one before:
//
//   - no request is admitted that it would refuse;
//   - a bucket whose limit and window have hardly a divisor in common may be
//     counted in ticks of more than 1 ns, and be behind by less than one;
//   - for a key, no request is refused that it would admit, except that a key which
//     finds the table full is treated as Full says;
//   - for the zero Key, a bucket of 10,000 units a second or more may be behind by
//     what flows in during 100 µs after it was full; all others are not.
//
// Requests with several rules are decided in one step. One is refused only if at one
// moment, while it was being decided, some rule had fewer units left than it asks
// for; then it has taken nothing of any rule, not even for a while.
//
// One thing depends on the caller: readings that are older than those of requests
// which were decided before, because their goroutines were held up between the
// clock and the limiter. For the zero Key, after a refund or at 10,000 units a
// second and more, a bucket may gain what flows in during that delay.
//
// # Time
//
// All but calendar quotas go by monotonic time. Windows of a duration begin where
// they would in Unix time by the clocks' difference when the limiter was made, so that
// nodes agree on them, and no later step of the wall clock opens one again.
// Calendar quotas have to go by the wall clock, and only forward: see calendar.
//
// # Counts across nodes
//
// A limiter is local to a process, and has what it takes to reconcile it with others off
// the request path. Per key and rule, all that is remembered is a cell: what is taken
// of a bucket that drains at a known rate (with its tick it is GCRA's theoretical
// arrival time), or of a window with a known start, and how much of it has not been
// told to others. AppendTaken tells it, from the cells that were charged since the last
// time, with the lock of one part of the table after the other held for some
// microseconds; units of the zero Key that lie in shards are collected first and not
// told. Apply takes over what all nodes took, which may leave a debt: of a bucket at
// any time, of a window if it is still the same one, which all nodes name by its
// start, by the clock of SetClock. Settle does so for a decision that was made
// elsewhere. SetShare divides limits among nodes that have lost touch. It is a price per unit,
// and cells are read as before, so that counts go on through it unscaled.
//
// # Counts across processes
//
// A process that takes the place of another on the same machine begins with its counts:
// Save and Restore carry what the cells say, with times relative to the moment of saving
// because the two monotonic clocks have nothing in common, and windows go on where they
// were. What the old process admits after that, for requests that it still has, follows
// by SaveTaken and is charged.
//
// To delay instead of refusing is Charge without Allow, which goes into debt, and a
// wait of the RetryAfter that Read tells; a queue with a bound is the caller's.
package limiter
