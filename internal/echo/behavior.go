package echo

import (
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// behavior is what an instance does to every request, whatever its query asks.
// Servers of one gateway get the same requests; this makes one of them differ.
type behavior struct {
	delay  time.Duration
	status int           // zero leaves it
	places chan struct{} // holds one token for each request in work; nil means no limit
}

const maxCapacity = 10_000

// behave changes what the answers to come are like. Every call starts from the
// usual behavior, so that one without a query restores it.
func (s *Server) behave(ctx *fasthttp.RequestCtx) {
	b, err := parseBehavior(ctx.QueryArgs())
	if err != nil {
		badRequest(ctx, err)
		return
	}
	s.behavior.Store(b)
	ctx.SetContentType(textPlain)
	ctx.SetBodyString("changed\n")
}

// parseBehavior returns nil for the usual behavior.
func parseBehavior(query *fasthttp.Args) (*behavior, error) {
	var b behavior
	for key, raw := range query.All() {
		value := string(raw)
		var capacity int
		var err error
		switch string(key) {
		case "status":
			b.status, err = parseCount(value, 200, 599)
		case "delay":
			b.delay, err = parseDelay(value)
		case "capacity":
			if capacity, err = parseCount(value, 1, maxCapacity); err == nil {
				b.places = make(chan struct{}, capacity)
			}
		default: // a mistyped name would otherwise restore the usual behavior
			err = errors.New("is not known")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if b == (behavior{}) {
		return nil, nil //nolint:nilnil // documented
	}
	return &b, nil
}

// apply answers as the behavior says.
func (b *behavior) apply(ctx *fasthttp.RequestCtx, s *Server) {
	if b.places != nil {
		select {
		case b.places <- struct{}{}:
			defer func() { <-b.places }()
		case <-ctx.Done():
			return
		}
	}
	if b.delay > 0 {
		s.wait(b.delay, ctx.Done())
	}
	s.answer(ctx)
	if b.status != 0 {
		ctx.SetStatusCode(b.status)
	}
}
