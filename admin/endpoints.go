package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	runtimepprof "runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	// It also registers its paths on http.DefaultServeMux, which nothing serves.
	"github.com/valyala/fasthttp/pprofhandler"
	"go.uber.org/zap"
)

// maxProfile bounds a profile or trace, which costs CPU while it is taken and
// goes on when its client leaves.
const maxProfile = time.Minute

type (
	state struct {
		Status string `json:"status"`
	}
	routeList struct {
		Routes []Route `json:"routes"`
	}
	upstreamList struct {
		Upstreams []Upstream `json:"upstreams"`
	}
)

func (h *handler) health(ctx *fasthttp.RequestCtx) { h.writeDocument(ctx, state{"ok"}) }

func (h *handler) status(ctx *fasthttp.RequestCtx) { h.writeDocument(ctx, h.runtime.Status()) }

func (h *handler) routes(ctx *fasthttp.RequestCtx) {
	h.writeDocument(ctx, routeList{h.runtime.Routes()})
}

func (h *handler) upstreams(ctx *fasthttp.RequestCtx) {
	h.writeDocument(ctx, upstreamList{h.runtime.Upstreams()})
}

func (h *handler) config(ctx *fasthttp.RequestCtx) {
	document, err := h.runtime.Config()
	if err != nil {
		h.log.Error("render configuration", zap.Error(err))
		h.writeProblem(ctx, newProblem(fasthttp.StatusInternalServerError, codeInternal,
			"the configuration could not be rendered; the log has the details"))
		return
	}
	ctx.SetContentType("application/yaml") // RFC 9512
	ctx.SetBody(document)
}

func (h *handler) metrics(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	h.runtime.WriteMetrics(ctx.Response.BodyWriter())
}

func (h *handler) reload(ctx *fasthttp.RequestCtx) {
	// ctx itself is reused once this returns and must not be handed on.
	bounded, cancel := context.WithTimeout(context.Background(), h.options.ReloadTimeout)
	defer cancel()
	outcome, err := h.runtime.Reload(bounded)
	if err == nil {
		h.log.Info("reload by management API",
			zap.Stringer("peer", ctx.RemoteAddr()), zap.Bool("changed", outcome.Changed), zap.String("hash", outcome.Hash))
		h.writeDocument(ctx, outcome)
		return
	}
	h.log.Warn("reload by management API", zap.Stringer("peer", ctx.RemoteAddr()), zap.Error(err))

	if invalid, ok := errors.AsType[*InvalidConfig](err); ok {
		p := newProblem(fasthttp.StatusUnprocessableEntity, codeConfigInvalid,
			invalid.Error()+"; the running one stays in place")
		p.Problems = invalid.Problems
		h.writeProblem(ctx, p)
		return
	}
	if errors.Is(err, context.DeadlineExceeded) {
		h.writeProblem(ctx, newProblem(fasthttp.StatusGatewayTimeout, codeReloadTimeout,
			fmt.Sprintf("the reload did not finish within %s; the status tells what runs", h.options.ReloadTimeout)))
		return
	}
	h.writeProblem(ctx, newProblem(fasthttp.StatusInternalServerError, codeReloadFailed, err.Error()))
}

func (h *handler) explain(ctx *fasthttp.RequestCtx) {
	q, err := parseQuestion(ctx.QueryArgs())
	if err != nil {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest, err.Error()))
		return
	}
	explanation, err := h.runtime.Explain(q.method, q.url, q.headers, q.clientIP)
	if err != nil {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest,
			"the gateway would refuse this request: "+err.Error()))
		return
	}
	h.writeDocument(ctx, explanation)
}

// question is the request that is to be explained.
type question struct {
	method, url, clientIP string
	headers               [][2]string
}

// parseQuestion reads the query of an explain request. An unknown name is an
// error: it is most often the rest of a URL that was not encoded.
func parseQuestion(query *fasthttp.Args) (question, error) {
	q := question{method: fasthttp.MethodGet}
	for key, raw := range query.All() {
		value := string(raw)
		switch string(key) {
		case "method":
			if !isToken(value) {
				return question{}, errors.New("method: must be an HTTP method")
			}
			q.method = value
		case "url":
			q.url = value
		case "header":
			name, content, ok := strings.Cut(value, ":")
			content = strings.TrimSpace(content)
			if !ok || !isToken(name) || hasControl(content) {
				return question{}, errors.New("header: must be Name: value")
			}
			q.headers = append(q.headers, [2]string{name, content})
		case "client_ip":
			if _, err := netip.ParseAddr(value); err != nil {
				return question{}, errors.New("client_ip: must be an IP address")
			}
			q.clientIP = value
		default:
			return question{}, fmt.Errorf("unknown parameter %q; url must be percent-encoded", key)
		}
	}
	u, err := url.Parse(q.url) // refuses control bytes too
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Contains(q.url, " ") {
		return question{}, errors.New("url: must be an absolute http or https URL")
	}
	return q, nil
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// hasControl reports whether s could end a header line or worse.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// pprof serves the index and the profiles of net/http/pprof.
func (h *handler) pprof(ctx *fasthttp.RequestCtx) {
	switch name, _ := ctx.UserValue("profile").(string); name {
	case "", "cmdline", "symbol", "profile", "trace":
	default:
		if runtimepprof.Lookup(name) == nil {
			h.notFound(ctx)
			return
		}
	}
	if !isShortProfile(ctx.QueryArgs()) {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest,
			fmt.Sprintf("seconds: must be a number from 0 to %d", int(maxProfile.Seconds()))))
		return
	}
	pprofhandler.PprofHandler(ctx)
}

// isShortProfile bounds ?seconds, which profiles and deltas of them take.
func isShortProfile(query *fasthttp.Args) bool {
	raw := query.Peek("seconds")
	if len(raw) == 0 {
		return true // net/http/pprof has a default
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	return err == nil && seconds >= 0 && seconds <= maxProfile.Seconds()
}
