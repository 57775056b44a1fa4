// Package file discovers targets from a file that somebody else writes, and reads
// it anew when it changes.
//
// The file is a list in YAML or JSON. An item is an address, a URL, or an object:
//
//   - 10.0.0.1:8080
//   - http://10.0.0.2:8080
//   - {url: "http://10.0.0.3:8080", weight: 5, priority: 1, zone: eu-1a}
//   - {address: "10.0.0.4:8080", weight: 0}
//   - {targets: ["10.0.0.5:8080", "10.0.0.6:8080"], labels: {zone: eu-1b}}
//
// An item of weight 0 is draining: known, but without new requests. The last form
// is that of Prometheus' file_sd; of its labels only zone means anything here. A
// URL stands for its host and port; whether TLS is spoken is the upstream's setting.
//
// A file that is gone, empty, too large or wrong anywhere is a failure: half a
// list is worth less than the one before. An empty list is written [].
package file
