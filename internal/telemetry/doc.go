// Package telemetry turns finished requests into numbers and lines: metric
// handles resolved once when a snapshot is built, a Prometheus page that reads
// them, an access log that never makes a request wait, and the logger for
// events of the gateway itself.
//
// It owns the meaning of every metric and of every access log field. It does
// not own the decision of what to record: the request line fills an Event and
// hands it over. It knows nothing of routing, upstreams or configuration and
// imports no other package of the project.
package telemetry
