package discovery

import (
	"context"
	"time"
)

// Source watches the targets of one service. A Source is a value that describes
// what to watch; it does nothing until Run.
type Source interface {
	// Key is equal for sources that watch the same in the same way, and only for
	// those, so that a source whose settings did not change lives across reloads.
	// It holds no secret in clear.
	Key() string
	// String names what is watched, for people: "dns _http._tcp.example.com".
	String() string
	// Run watches until ctx ends and then returns nil, promptly. Any other return
	// is a failure: the Group reports it and calls Run again after a while, longer
	// each time. A source that goes on by itself after a failure calls Sink.Fail.
	// Run is called from one goroutine at a time and leaves none behind.
	Run(ctx context.Context, sink Sink) error
}

// Sink receives what a Source learns, from the goroutine that called Run.
type Sink interface {
	// Update takes the whole list, each time the source has learned one, whether it
	// changed or not. An empty list says with authority that there is no target.
	// next is when the source will ask again, zero if it is told of changes. The
	// slice may be reused after the call.
	Update(targets []Target, next time.Time)
	// Fail reports a failure after which the source goes on by itself, at next if
	// that is not zero. The last targets stay. After an Update of the same round it
	// says that the list is in part an old one.
	Fail(err error, next time.Time)
}

// Status is the state of a source.
type Status struct {
	// Source is what Source.String says.
	Source string
	// Targets is how many targets the watchers see at present, Dropped how many
	// the source gave that they do not, because the list is too long or the address
	// is none.
	Targets, Dropped int
	// Updated is when the source last answered, Changed when its targets last
	// changed; zero if never.
	Updated, Changed time.Time
	// Next is when the source will ask or try again; zero if it is told of changes.
	Next time.Time
	// Failed is when the source last failed, zero if never, Err why, and Failures
	// how many times since it last answered.
	Failed   time.Time
	Err      error
	Failures int
	// Stale reports that the source has failed since it answered: what the
	// watchers see may be out of date.
	Stale bool
	// Held reports that the source has answered that there are no targets, and that
	// the watchers still see the last ones.
	Held bool
}
