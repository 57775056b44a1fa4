// Package discovery says what a source of an upstream's servers is, and runs sources.
//
// It owns the contract (Target, Source, Sink), and what is the same for every
// source: running each once however many upstreams name it, trying again after a
// failure, bringing lists into one form so that equal answers change nothing, and
// telling what state a source is in. Each source has a folder of its own beneath,
// with its own dependency. The package does not know upstreams, endpoints or
// configuration: who watches a source decides what its targets are good for.
//
// # What a failure means, and what an empty answer
//
// A source that fails (timeout, refused, garbage, deleted file) has said nothing:
// its last targets stay, for as long as it takes, and its Status says that they
// are stale. Whether they still serve is for health checks to find out.
//
// A source that answers that there is no target (a name that does not exist, a
// service without endpoints, a list without entries) has said something. It is
// believed, but not at once: the last targets stay for Options.HoldEmpty. Empty
// answers are much more often a registry that has just restarted, or a zone that
// is being replaced, than a service that was taken down on purpose, and in the
// latter case nothing is lost by the delay, since the requests would fail anyway.
// After it they go, because their addresses may by then be given to others.
package discovery
