// Package router decides which route a request belongs to.
//
// It owns the table of routes, what a pattern may say, the order in which
// routes win, the problems among routes that a check can report, and the one
// canonical form of a path. It does not own requests, values (a [Table] maps
// to any T), redirects, rewriting, or what is answered for 404 and 405.
//
// # Which route wins
//
// Every pair of a route and one of its hosts has a rank, fixed when the table
// is built. The route that matches a request with the lowest rank wins; the
// trees inside a table only make finding it quick. Ranks follow the precedence
// of the Kubernetes Gateway API, the first difference deciding:
//
//  1. [Pattern.Priority], higher first.
//  2. Host: exact, then wildcard (the longest first), then any.
//  3. Path: all literal and exact; then regular expressions, which are equally
//     specific among themselves; then the rest segment by segment, where a
//     literal beats {name}, which beats {name...}, which beats /*. Hence the
//     longest prefix wins.
//  4. Routes that list methods before routes for any method.
//  5. Number of header matchers, more first.
//  6. Number of query matchers, then of cookie matchers, more first.
//  7. Routes that list client networks before those that do not.
//  8. Order of definition.
//
// A route that fails on its method or on a predicate is passed over, and the
// search goes on to less specific paths and then to less specific hosts. This
// is the meaning in the Gateway API, where all rules compete; Envoy differs,
// for it chooses a virtual host first and never leaves it.
//
// # Methods
//
// Methods are compared as written, case included (RFC 9110 section 9.1), but a
// route that lists GET also serves HEAD, which differs from GET only in that no
// content is sent (RFC 9110 section 9.3.2): what guards one guards the other.
// To treat HEAD differently, define a route for HEAD before the one for GET, or
// give it a priority.
//
// The outcome is [MethodNotAllowed] only where a route would have matched but
// for its method. To find the route that a CORS preflight asks about, match
// again with the method in Access-Control-Request-Method.
package router
