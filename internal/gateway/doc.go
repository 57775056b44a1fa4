// Package gateway is the program: it turns a checked configuration into what
// runs, and keeps it running. It is the only package that sees both.
//
//	load ─► build ─► warm ─► swap ─► start · drain · retire
//
// Loading is internal/config's. build (build.go) is pure: it makes a plan out
// of a configuration, reusing living parts by identity (living.go), and
// changes nothing. Everything that can fail fails there. warm (apply.go) waits
// a bounded time for the first health checks. The swap is one atomic store;
// what is no longer wanted drains and closes afterwards.
//
// Gateway.Reload is the one way in: for the start, SIGHUP, a changed file (watch.go)
// and the management API (runtime.go).
//
// Listening sockets (socket.go, sockets.go) live across reloads and across
// processes: another one may take over (handover.go, takeover.go), and systemd
// may pass them (systemd.go). All lead to one door (door.go).
package gateway
