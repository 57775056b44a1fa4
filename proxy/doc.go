// Package proxy is the request line: what happens to a request between the
// client's connection and an upstream's, read top to bottom in serve.go.
//
// # The life of a request
//
//	read      the header block is judged and indexed          → 400
//	match     router.Match(host, method, path, …)    → route, or 404 / 405
//	enter     the route's request phases, slot by slot:
//	          arrive · identify · admit · shape · recall
//	forward   for each attempt: pick → connect → send → reply
//	leave     the response phases of what was entered, in reverse
//	close     event → metrics, access log; release
//
// Server holds one Snapshot behind an atomic pointer. A request loads it once
// and keeps it to its end; Swap replaces it for the requests that come after.
// What lives longer than a snapshot (endpoints, metric handles) is only
// referred to from it.
//
// An Exchange is the state of one request. It is pooled and stays on its
// goroutine; whatever outlives the request receives copies. On the HTTP/1 path
// nothing is allocated per request: all parsing of configuration, compiling
// and name lookup happened when the snapshot was built.
//
// The package knows neither configuration files nor the management API; those
// are in internal/config, admin and internal/gateway, which builds snapshots.
package proxy
