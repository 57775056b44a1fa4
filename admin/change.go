package admin

import (
	"errors"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

const (
	upstreamPath = "/admin/v1/upstreams/{upstream}"
	endpointPath = upstreamPath + "/endpoints/{endpoint}"
)

// changeEndpoint gives an endpoint another mode or weight.
func (h *handler) changeEndpoint(ctx *fasthttp.RequestCtx) {
	upstream, endpoint, ok := h.endpointOf(ctx)
	if !ok {
		return
	}
	change, ok := readChange(h, ctx, parseEndpointChange)
	if !ok {
		return
	}
	before, after, err := h.runtime.SetEndpoint(upstream, endpoint, change)
	if err != nil {
		h.refuseChange(ctx, err)
		return
	}
	h.log.Info("endpoint changed by management API",
		zap.Stringer("peer", ctx.RemoteAddr()), zap.String("upstream", upstream), zap.String("endpoint", after.ID),
		zap.String("mode_before", before.Mode), zap.String("mode", after.Mode),
		zap.Int("weight_before", before.Weight), zap.Int("weight", after.Weight))
	h.writeDocument(ctx, after)
}

// resetEndpoint gives an endpoint that is kept out another chance.
func (h *handler) resetEndpoint(ctx *fasthttp.RequestCtx) {
	upstream, endpoint, ok := h.endpointOf(ctx)
	if !ok {
		return
	}
	before, after, err := h.runtime.ResetEndpoint(upstream, endpoint)
	if err != nil {
		h.refuseChange(ctx, err)
		return
	}
	h.log.Info("endpoint reset by management API",
		zap.Stringer("peer", ctx.RemoteAddr()), zap.String("upstream", upstream), zap.String("endpoint", after.ID),
		zap.String("state_before", before.State), zap.String("state", after.State))
	h.writeDocument(ctx, after)
}

// changeBreaker opens or closes an upstream's own circuit breaker.
func (h *handler) changeBreaker(ctx *fasthttp.RequestCtx) {
	upstream, ok := h.parameter(ctx, "upstream")
	if !ok {
		return
	}
	change, ok := readChange(h, ctx, parseBreakerChange)
	if !ok {
		return
	}
	before, after, err := h.runtime.SetBreaker(upstream, change)
	if err != nil {
		h.refuseChange(ctx, err)
		return
	}
	h.log.Info("circuit breaker changed by management API",
		zap.Stringer("peer", ctx.RemoteAddr()), zap.String("upstream", upstream),
		zap.String("state_before", before.State), zap.String("state", after.State), zap.Duration("for", change.For))
	h.writeDocument(ctx, after)
}

func (h *handler) endpointOf(ctx *fasthttp.RequestCtx) (upstream, endpoint string, ok bool) {
	if upstream, ok = h.parameter(ctx, "upstream"); !ok {
		return "", "", false
	}
	endpoint, ok = h.parameter(ctx, "endpoint")
	return upstream, endpoint, ok
}

// parameter returns a segment of the path as its own text, which outlives the
// request, and answers if it has none. The router matches paths as they were
// sent, so an encoded slash is part of a segment.
func (h *handler) parameter(ctx *fasthttp.RequestCtx, name string) (value string, ok bool) {
	raw, _ := ctx.UserValue(name).(string)
	value, err := url.PathUnescape(raw)
	if err != nil {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest,
			name+": is not percent-encoded as it must be"))
		return "", false
	}
	return strings.Clone(value), true
}

// readChange reads a change from the body, and answers if it cannot be used.
func readChange[T any](h *handler, ctx *fasthttp.RequestCtx, parse func([]byte) (T, []ConfigProblem, error)) (change T, ok bool) {
	body, refusal := readBody(ctx)
	if refusal != nil {
		h.writeProblem(ctx, refusal)
		return change, false
	}
	change, problems, err := parse(body)
	if err != nil {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest, err.Error()))
		return change, false
	}
	if len(problems) > 0 {
		p := newProblem(fasthttp.StatusBadRequest, codeInvalidRequest, "the body cannot be used; problems lists why")
		p.Problems = problems
		h.writeProblem(ctx, p)
		return change, false
	}
	return change, true
}

// refuseName answers that there is nothing of a name, and what was perhaps meant.
func (h *handler) refuseName(ctx *fasthttp.RequestCtx, missing *NotFound) {
	code := codeEndpointNotFound
	switch missing.Kind {
	case KindUpstream:
		code = codeUpstreamNotFound
	case KindRateLimit:
		code = codeLimitNotFound
	case KindPlan:
		code = codePlanNotFound
	case KindKey:
		code = codeKeyNotFound
	}
	p := newProblem(fasthttp.StatusNotFound, code, missing.Error())
	p.Candidates = nearest(missing.Name, missing.Known)
	h.writeProblem(ctx, p)
}

// refuseChange answers with the error of a change.
func (h *handler) refuseChange(ctx *fasthttp.RequestCtx, err error) {
	if missing, ok := errors.AsType[*NotFound](err); ok {
		h.refuseName(ctx, missing)
		return
	}
	if several, ok := errors.AsType[*Ambiguous](err); ok {
		p := newProblem(fasthttp.StatusConflict, codeEndpointAmbiguous, several.Error())
		p.Candidates = several.URLs
		h.writeProblem(ctx, p)
		return
	}
	if errors.Is(err, ErrNoBreaker) {
		h.writeProblem(ctx, newProblem(fasthttp.StatusConflict, codeNoBreaker, ErrNoBreaker.Error()))
		return
	}
	h.log.Error("change by management API", zap.Stringer("peer", ctx.RemoteAddr()), zap.Error(err))
	h.writeProblem(ctx, newProblem(fasthttp.StatusInternalServerError, codeInternal,
		"the change could not be made; the log has the details"))
}
