// Package upstream owns the connections to what the gateway forwards to: a
// named Upstream, its Endpoints, one fasthttp.HostClient pool for each, and a
// transport of its own over the exported parts of that pool.
//
// HostClient.Do is not used: it retries by itself, overwrites Date, swallows
// 1xx, pools a connection after 101, cannot see an answer before the request
// is complete and notices neither a stale nor a dirty connection. What is used
// is the pool: AcquireConn, ReleaseConn, CloseConn and the pooled readers.
//
// The package knows nothing of routes, retries or policies; the line in
// package proxy decides those.
package upstream
