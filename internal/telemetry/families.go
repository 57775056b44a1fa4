package telemetry

// family is one metric, as docs/metrics.md lists it.
type family struct {
	name   string
	kind   string // counter, gauge or histogram
	labels string // for the documentation
	help   string
}

// familyIndex names a family: its place in families.
type familyIndex int

// The families, in the order of the page.
const (
	requestsTotal familyIndex = iota
	requestsFlight
	requestDuration
	gatewayDuration
	requestBytes
	responseBytes
	retriesTotal
	hedgesTotal
	hedgesWonTotal
	fallbacksTotal
	upgradesTotal
	upgradesOpen
	upgradeReceived
	upgradeSent

	upstreamRequests
	upstreamFlight
	upstreamDuration
	upstreamOpened
	upstreamReused
	upstreamFailures
	upstreamConnections
	upstreamUp
	upstreamEjected
	upstreamWeight
	upstreamLatency
	healthProbes

	breakerState
	breakerOpened
	upstreamPanic
	upstreamQueue
	upstreamConcurrency
	upstreamLimit
	upstreamRejected
	upstreamEjections
	discoveryTargets
	discoveryStale
	discoveryTime
	discoveryFailures

	rateLimitRequests
	rateLimitKeys
	rateLimitBytes
	rateLimitEvictions
	rateLimitOverflows
	rateLimitDelayed
	rateLimitWaiting
	storeConnected
	storeDegraded
	storeLag
	storeErrors
	storeRoundTrip
	storeNodes

	configReloads
	configSuccess
	configTime
	configInfo
	connectionsAccepted
	connectionsOpen
	connectionsRefused
	proxyErrors
	panicsTotal
	requestsLimited
	memoryUsed
	memoryLimit
	memoryShedding
	logLinesWritten
	logLinesDropped
	logErrors
	buildInfo
)

var families = [...]family{
	requestsTotal:   {"velocity_requests_total", "counter", "route, code", "Finished requests by route and status class."},
	requestsFlight:  {"velocity_requests_in_flight", "gauge", "route", "Requests being served."},
	requestDuration: {"velocity_request_duration_seconds", "histogram", "route, code", "Time from the request header to the last byte of the answer."},
	gatewayDuration: {"velocity_gateway_duration_seconds", "histogram", "route", "Time spent in the gateway itself: the duration without the waiting for upstreams."},
	requestBytes:    {"velocity_request_body_bytes_total", "counter", "route", "Bytes of request bodies received."},
	responseBytes:   {"velocity_response_body_bytes_total", "counter", "route", "Bytes of response bodies sent."},
	retriesTotal:    {"velocity_retries_total", "counter", "route, cause", "Attempts made because an earlier one failed: connect_failure, stale_connection, reset_before_response, timeout, status or header."},
	hedgesTotal:     {"velocity_hedges_total", "counter", "route", "Second attempts made because the first was slow to be answered."},
	hedgesWonTotal:  {"velocity_hedges_won_total", "counter", "route", "Hedges whose reply was the one that the client got."},
	fallbacksTotal:  {"velocity_fallbacks_total", "counter", "route", "Requests answered by the fallback of their route."},
	upgradesTotal:   {"velocity_upgrades_total", "counter", "route", "Connections that have switched protocols, WebSockets for one."},
	upgradesOpen:    {"velocity_upgrades_open", "gauge", "route", "Of these, those that are open. Each is a request in flight as well."},
	upgradeReceived: {"velocity_upgrade_received_bytes_total", "counter", "route", "Bytes received from their clients and passed on."},
	upgradeSent:     {"velocity_upgrade_sent_bytes_total", "counter", "route", "Bytes sent to their clients."},

	upstreamRequests:    {"velocity_upstream_requests_total", "counter", "upstream, endpoint, code", "Replies of endpoints by status class."},
	upstreamFlight:      {"velocity_upstream_requests_in_flight", "gauge", "upstream, endpoint", "Attempts under way."},
	upstreamDuration:    {"velocity_upstream_duration_seconds", "histogram", "upstream, endpoint", "Time from sending an attempt to the header of its reply."},
	upstreamOpened:      {"velocity_upstream_connections_opened_total", "counter", "upstream, endpoint", "Connections opened for an attempt."},
	upstreamReused:      {"velocity_upstream_connections_reused_total", "counter", "upstream, endpoint", "Attempts sent over a connection that was already open."},
	upstreamFailures:    {"velocity_upstream_failures_total", "counter", "upstream, endpoint, kind", "Attempts without a usable reply: connect_failed, timeout, reset, protocol_error or pool_exhausted."},
	upstreamConnections: {"velocity_upstream_connections_open", "gauge", "upstream, endpoint", "Open connections, idle ones included."},
	upstreamUp:          {"velocity_upstream_endpoint_up", "gauge", "upstream, endpoint", "1 when the endpoint is offered requests, else 0."},
	upstreamEjected:     {"velocity_upstream_endpoint_ejected", "gauge", "upstream, endpoint", "1 while the endpoint is out of rotation as an outlier, else 0."},
	upstreamWeight:      {"velocity_upstream_endpoint_weight", "gauge", "upstream, endpoint", "Share of the requests relative to the other endpoints."},
	upstreamLatency:     {"velocity_upstream_endpoint_latency_seconds", "gauge", "upstream, endpoint", "Time to answer, as balancing estimates it. Absent while too little is known."},
	healthProbes:        {"velocity_health_probes_total", "counter", "upstream, endpoint, result", "Health probes: success or failure."},

	breakerState:        {"velocity_circuit_breaker_state", "gauge", "upstream, endpoint", "0 closed, 1 open, 2 half-open. The endpoint is empty for the breaker of the upstream as a whole. Absent without a breaker."},
	breakerOpened:       {"velocity_circuit_breaker_opened_total", "counter", "upstream, endpoint", "Times that the breaker opened."},
	upstreamPanic:       {"velocity_upstream_panic", "gauge", "upstream", "1 while health is disregarded because too few endpoints are healthy, else 0."},
	upstreamQueue:       {"velocity_upstream_queue_length", "gauge", "upstream", "Requests that wait to be let in."},
	upstreamConcurrency: {"velocity_upstream_concurrency", "gauge", "upstream", "Attempts in flight over all endpoints."},
	upstreamLimit:       {"velocity_upstream_concurrency_limit", "gauge", "upstream", "The limit on these that follows the latency. Absent without adaptive concurrency."},
	upstreamRejected:    {"velocity_upstream_concurrency_rejected_total", "counter", "upstream", "Requests that this limit kept out. Absent without adaptive concurrency."},
	upstreamEjections:   {"velocity_upstream_ejections_total", "counter", "upstream, cause, enforced", "Endpoints found to be outliers: taken out of rotation, or left in it by the settings or because too many were out (enforced is false)."},
	discoveryTargets:    {"velocity_discovery_targets", "gauge", "upstream", "Endpoints that discovery gives."},
	discoveryStale:      {"velocity_discovery_stale", "gauge", "upstream", "1 when discovery has failed since it last answered, else 0."},
	discoveryTime:       {"velocity_discovery_last_update_timestamp_seconds", "gauge", "upstream", "Unix time of the last answer of discovery. Absent before the first."},
	discoveryFailures:   {"velocity_discovery_failures_total", "counter", "upstream", "Failures of discovery."},

	rateLimitRequests:  {"velocity_rate_limit_requests_total", "counter", "limit, rule, result", "Requests that a rate limit admitted (the rule is empty) and that a rule refused. A rule that only observes lets them through, and they are observed."},
	rateLimitKeys:      {"velocity_rate_limit_keys", "gauge", "limit", "Keys that are remembered."},
	rateLimitBytes:     {"velocity_rate_limit_bytes", "gauge", "limit", "The most memory that keys may take."},
	rateLimitEvictions: {"velocity_rate_limit_evictions_total", "counter", "limit", "Idle keys forgotten to make room for others."},
	rateLimitOverflows: {"velocity_rate_limit_overflows_total", "counter", "limit", "Requests whose key found no room."},
	rateLimitDelayed:   {"velocity_rate_limit_delayed_total", "counter", "limit", "Requests admitted after a wait."},
	rateLimitWaiting:   {"velocity_rate_limit_waiting", "gauge", "limit", "Requests that wait to be admitted."},
	storeConnected:     {"velocity_rate_limit_store_connected", "gauge", "", "1 while the store of the rate limits answers, else 0. This and what follows is absent without a store."},
	storeDegraded:      {"velocity_rate_limit_store_degraded", "gauge", "", "1 while limits are not those of all nodes together, because of the store, else 0."},
	storeLag:           {"velocity_rate_limit_store_sync_lag_seconds", "gauge", "", "Age of what is known of the other nodes."},
	storeErrors:        {"velocity_rate_limit_store_sync_errors_total", "counter", "", "Exchanges with the store that failed."},
	storeRoundTrip:     {"velocity_rate_limit_store_round_trip_seconds", "gauge", "", "Time that the store took to answer last. Absent before the first answer."},
	storeNodes:         {"velocity_rate_limit_store_nodes", "gauge", "", "Nodes that share the limits, this one included."},

	configReloads:       {"velocity_config_reloads_total", "counter", "result", "Configurations received: applied, unchanged or failed."},
	configSuccess:       {"velocity_config_last_reload_success", "gauge", "", "1 when the last reload was applied or changed nothing, 0 when it failed."},
	configTime:          {"velocity_config_last_reload_success_timestamp_seconds", "gauge", "", "Unix time of the last reload that did not fail."},
	configInfo:          {"velocity_config_info", "gauge", "hash", "Always 1; the label identifies the running configuration."},
	connectionsAccepted: {"velocity_connections_accepted_total", "counter", "", "Client connections accepted."},
	connectionsOpen:     {"velocity_connections_open", "gauge", "", "Client connections open."},
	connectionsRefused:  {"velocity_connections_refused_total", "counter", "", "Client connections closed unserved because of a limit."},
	proxyErrors:         {"velocity_proxy_protocol_errors_total", "counter", "", "Client connections closed because their PROXY header was missing or bad."},
	panicsTotal:         {"velocity_panics_total", "counter", "", "Panics caught while serving a request."},
	requestsLimited:     {"velocity_requests_limited_total", "counter", "limit", "Requests refused or ended by a limit: in_flight, memory, route_in_flight, upstream_in_flight, upstream_queue, circuit, header_time, body_rate, send_rate, rate or concurrency."},
	memoryUsed:          {"velocity_memory_used_bytes", "gauge", "", "Live heap and stacks, as measured against the memory limit."},
	memoryLimit:         {"velocity_memory_limit_bytes", "gauge", "", "The memory limit, 0 for none."},
	memoryShedding:      {"velocity_memory_shedding", "gauge", "", "1 while requests are refused for lack of memory, else 0."},
	logLinesWritten:     {"velocity_access_log_lines_written_total", "counter", "", "Access log lines written."},
	logLinesDropped:     {"velocity_access_log_lines_dropped_total", "counter", "", "Access log lines lost to a full buffer or a failing writer."},
	logErrors:           {"velocity_access_log_write_errors_total", "counter", "", "Failed writes of the access log."},
	buildInfo:           {"velocity_build_info", "gauge", "version, go_version", "Always 1; the labels name the build."},
}
