// Package testkit is what tests of the whole program share: the built binary
// as a process, raw HTTP over a socket, upstreams that a test controls, and
// readings of metrics and of /proc. It owns no test and knows no feature;
// everything it starts is on a free port, writes to memory, and ends with the
// test.
package testkit
