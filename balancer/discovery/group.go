package discovery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// What Options mean when they say nothing.
const (
	DefaultHoldEmpty  = 30 * time.Second
	DefaultMaxTargets = 1 << 14
	DefaultMinRetry   = time.Second
	DefaultMaxRetry   = 30 * time.Second
)

// Options are how a Group treats its sources. All may be zero.
type Options struct {
	// HoldEmpty is how long the last targets stay after a source has answered that
	// there are none; 0 means DefaultHoldEmpty, a negative value that they go at once.
	HoldEmpty time.Duration
	// MaxTargets bounds the list of each source; 0 means DefaultMaxTargets. What is
	// over it is left out, always the same part, and counted in Status.Dropped.
	MaxTargets int
	// MinRetry and MaxRetry bound the wait before a source that ended with a
	// failure is run again; 0 means DefaultMinRetry and DefaultMaxRetry.
	MinRetry, MaxRetry time.Duration
	// Report is called after every answer and every failure of a source, for logs
	// and metrics, on a goroutine of the source. It may call anything but Close.
	Report func(Status)
}

// Group runs sources until it is closed: each that is watched on a goroutine of
// its own, once however many watch it. All methods are safe for concurrent use.
type Group struct {
	options Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	feeds map[string]*feed // by Source.Key
}

// NewGroup returns a Group that runs nothing yet. Close must be called.
func NewGroup(options Options) *Group {
	if options.HoldEmpty == 0 {
		options.HoldEmpty = DefaultHoldEmpty
	}
	if options.MaxTargets <= 0 {
		options.MaxTargets = DefaultMaxTargets
	}
	if options.MinRetry <= 0 {
		options.MinRetry = DefaultMinRetry
	}
	if options.MaxRetry <= 0 {
		options.MaxRetry = max(DefaultMaxRetry, options.MinRetry)
	}
	g := &Group{options: options, feeds: make(map[string]*feed)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Close stops all sources and waits until none runs. Watches keep their last
// targets. It must not be called from a callback.
func (g *Group) Close() {
	g.mu.Lock()
	g.cancel() // under the lock, so that no source is started after the wait began
	g.mu.Unlock()
	g.running.Wait()
}

// Watch watches a source, which is started unless one of the same Key runs: a
// reload watches the sources of its snapshot before it closes the watches of the
// one before, and whatever did not change goes on undisturbed, with its targets
// known at once.
//
// changed, which may be nil, is called with the watch after each change of its
// targets, never twice at a time, and possibly before Watch has returned. It runs
// on a goroutine of the source, so that it must be brief, and must not call Close.
func (g *Group) Watch(source Source, changed func(*Watch)) *Watch {
	key := source.Key()
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.feeds[key]
	begins := f == nil
	if begins {
		f = newFeed(g, source, key)
		g.feeds[key] = f
	}
	w := &Watch{feed: f, changed: changed}
	f.mu.Lock()
	f.watches = append(f.watches, w)
	f.mu.Unlock()
	// Only now, so that the first change finds its watch.
	if begins && g.ctx.Err() == nil {
		g.running.Go(f.run)
	}
	return w
}

// Statuses returns the state of every source that is watched, sorted by name.
func (g *Group) Statuses() []Status {
	g.mu.Lock()
	feeds := make([]*feed, 0, len(g.feeds))
	for _, f := range g.feeds {
		feeds = append(feeds, f)
	}
	g.mu.Unlock()
	slices.SortFunc(feeds, compareFeeds)
	statuses := make([]Status, len(feeds))
	for i, f := range feeds {
		statuses[i] = f.snapshot()
	}
	return statuses
}

// Ready waits until every source that is watched at the call has answered or
// failed once, and returns the error of ctx if that ends first.
func (g *Group) Ready(ctx context.Context) error {
	g.mu.Lock()
	feeds := make([]*feed, 0, len(g.feeds))
	for _, f := range g.feeds {
		feeds = append(feeds, f)
	}
	g.mu.Unlock()
	for _, f := range feeds {
		select {
		case <-f.ready:
		case <-f.ctx.Done(): // nobody watches it any more
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", f.source, ctx.Err())
		}
	}
	return nil
}
