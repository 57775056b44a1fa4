package admin

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

const (
	rateLimitsPath = "/admin/v1/rate-limits"
	rateLimitPath  = rateLimitsPath + "/{name}"
	limitKeyPath   = rateLimitPath + "/keys"
)

type rateLimitList struct {
	RateLimits []RateLimit `json:"rate_limits"`
}

func (h *handler) rateLimits(ctx *fasthttp.RequestCtx) {
	h.writeDocument(ctx, rateLimitList{h.runtime.RateLimits()})
}

func (h *handler) rateLimit(ctx *fasthttp.RequestCtx) {
	name, ok := h.parameter(ctx, "name")
	if !ok {
		return
	}
	limits := h.runtime.RateLimits()
	names := make([]string, len(limits))
	for i := range limits {
		if names[i] = limits[i].Name; names[i] == name {
			h.writeDocument(ctx, limits[i])
			return
		}
	}
	h.refuseName(ctx, &NotFound{Kind: KindRateLimit, Name: name, Known: names})
}

// rateLimitKey tells what is left for a key.
func (h *handler) rateLimitKey(ctx *fasthttp.RequestCtx) {
	k, ok := h.limitKeyOf(ctx)
	if !ok {
		return
	}
	state, err := h.runtime.RateLimitKey(k.limit, k.plan, k.key)
	if err != nil {
		h.refuseKey(ctx, err)
		return
	}
	h.writeDocument(ctx, state)
}

// resetRateLimitKey forgets what a key took. The key is in the log because
// whoever was let in again is what the operator will want to know.
func (h *handler) resetRateLimitKey(ctx *fasthttp.RequestCtx) {
	k, ok := h.limitKeyOf(ctx)
	if !ok {
		return
	}
	if err := h.runtime.ResetRateLimitKey(k.limit, k.plan, k.key); err != nil {
		h.refuseKey(ctx, err)
		return
	}
	h.log.Info("rate limit reset by management API",
		zap.Stringer("peer", ctx.RemoteAddr()), zap.String("limit", k.limit), zap.String("plan", k.plan), zap.String("key", k.key))
	ctx.SetStatusCode(fasthttp.StatusNoContent)
}

// refuseKey answers with the error of a key that was to be read or reset.
func (h *handler) refuseKey(ctx *fasthttp.RequestCtx, err error) {
	if missing, ok := errors.AsType[*NotFound](err); ok {
		h.refuseName(ctx, missing)
		return
	}
	h.log.Error("rate limit key by management API",
		zap.Stringer("peer", ctx.RemoteAddr()), zap.ByteString("method", ctx.Method()), zap.Error(err))
	if errors.Is(err, ErrNoStore) {
		h.writeProblem(ctx, newProblem(fasthttp.StatusServiceUnavailable, codeStoreUnavailable, ErrNoStore.Error()))
		return
	}
	h.writeProblem(ctx, newProblem(fasthttp.StatusInternalServerError, codeInternal,
		"the key could not be read or reset; the log has the details"))
}

// limitKey names a key of a rate limit.
type limitKey struct{ limit, plan, key string }

// limitKeyOf reads which key is meant, and answers if that cannot be told.
func (h *handler) limitKeyOf(ctx *fasthttp.RequestCtx) (k limitKey, ok bool) {
	if k.limit, ok = h.parameter(ctx, "name"); !ok {
		return k, false
	}
	if err := k.parse(ctx.QueryArgs()); err != nil {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest, err.Error()))
		return k, false
	}
	return k, true
}

// parse reads the query. What it does not know is an error: it is most often the
// rest of a key that was not encoded, and another key would be reset.
func (k *limitKey) parse(query *fasthttp.Args) error {
	seen := map[string]bool{}
	for raw, value := range query.All() {
		name := string(raw)
		if seen[name] {
			return fmt.Errorf("%s: is there twice", name)
		}
		seen[name] = true
		switch name {
		case "key":
			k.key = string(value)
		case "plan":
			k.plan = string(value)
		default:
			return fmt.Errorf("unknown parameter %q; key must be percent-encoded", name)
		}
	}
	if !seen["key"] {
		return errors.New("key: is required; it is empty for a limit that counts all requests together")
	}
	return nil
}
