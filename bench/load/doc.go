// Command load compares Velocity with nginx and HAProxy, and with no proxy at all, under wrk on one machine.
//
// It starts an origin and the proxies on free loopback ports with equal settings, each proxy on a CPU that it does not share
// with the load, drives them in interleaved rounds whose order rotates, and reports requests per second, latency, and
// what the question of efficiency is about: CPU time of the proxy per request, and memory. It ends what it started, and only that.
//
// It does not measure a network, TLS, or more than one core; on a shared machine its absolute numbers move, which is why ratios
// are taken within a round.
package main
