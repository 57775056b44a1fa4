// Package outlier takes endpoints out of rotation that serve real requests worse
// than they should: passive health checking.
//
// It owns what is counted per endpoint, the rules by which an endpoint is an
// outlier, how long it stays out, and how many of an upstream's endpoints may be
// out at a time. It sends nothing, chooses no endpoint and knows no HTTP: whoever
// serves a request says how it ended, and all that changes outside is
// balancer.Endpoint.SetEjected. Active probes are package health's; the picture
// of both together is there.
//
// It is a package of its own beside health because requests run through it: the
// data plane may hold a Passive, and does not come to depend on probing by it.
//
// # Rules
//
// An endpoint is an outlier when, with the default settings,
//
//   - 5 answers in a row were 5xx or failed without an answer;
//   - 5 answers in a row were 502, 503 or 504 or failed without an answer;
//   - its success rate over an interval of 10 s lies more than 1.9 standard
//     deviations below the mean of at least 5 endpoints that had 100 requests each;
//   - if it is switched on: 85 % of at least 50 requests of an interval failed, and
//     there are 5 such endpoints.
//
// Failures without an answer (no connection, a reset, a time limit) are counted as
// gateway errors or, with Settings.SplitLocal, in counters and rates of their own.
//
// Consecutive failures are acted on at once, rates at the end of each interval.
// The endpoint stays out for 30 s times the number of times that this has
// happened lately, 300 s at most: each interval in service takes one time off.
// It returns by itself, with its counts of consecutive failures at zero.
package outlier
