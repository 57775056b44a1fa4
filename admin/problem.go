package admin

import (
	"github.com/valyala/fasthttp"
)

// The codes of problem documents. They are part of the API: clients branch on
// them, so a code never changes its meaning.
const (
	codeInvalidRequest    = "invalid_request"
	codeTokenMissing      = "token_missing"
	codeTokenInvalid      = "token_invalid"
	codeCertificate       = "client_certificate_missing"
	codeCredentialsNotSet = "credentials_not_configured"
	codeHostRefused       = "host_refused"
	codeOriginRefused     = "origin_refused"
	codeTooManyFailures   = "too_many_failures"
	codeNotFound          = "not_found"
	codeUpstreamNotFound  = "upstream_not_found"
	codeEndpointNotFound  = "endpoint_not_found"
	codeLimitNotFound     = "rate_limit_not_found"
	codePlanNotFound      = "plan_not_found"
	codeKeyNotFound       = "key_not_found"
	codeMethodNotAllowed  = "method_not_allowed"
	codeEndpointAmbiguous = "endpoint_ambiguous"
	codeNoBreaker         = "no_circuit_breaker"
	codeLengthRequired    = "length_required"
	codeBodyTooLarge      = "body_too_large"
	codeMediaType         = "unsupported_media_type"
	codeConfigInvalid     = "config_invalid"
	codeReloadFailed      = "reload_failed"
	codeReloadTimeout     = "reload_timeout"
	codeNotReady          = "not_ready"
	codeStoreUnavailable  = "store_unavailable"
	codeInternal          = "internal_error"
)

// problem is a problem document (RFC 9457) with a code for machines.
type problem struct {
	Type       string          `json:"type"`
	Title      string          `json:"title"`
	Status     int             `json:"status"`
	Code       string          `json:"code"`
	Detail     string          `json:"detail"`
	Reasons    []string        `json:"reasons,omitempty"`    // of codeNotReady
	Candidates []string        `json:"candidates,omitempty"` // what could have been meant
	Problems   []ConfigProblem `json:"problems,omitempty"`
}

// newProblem returns a problem whose title is that of the status, as the type
// "about:blank" asks (RFC 9457, 4.2.1).
func newProblem(status int, code, detail string) *problem {
	return &problem{
		Type: "about:blank", Title: fasthttp.StatusMessage(status),
		Status: status, Code: code, Detail: detail,
	}
}

func (h *handler) writeProblem(ctx *fasthttp.RequestCtx, p *problem) {
	h.writeDocument(ctx, *p)
	ctx.SetContentType("application/problem+json")
	ctx.SetStatusCode(p.Status)
}

// writeDocument answers with v, of a type that compileEncoders names, as JSON; it
// is indented because people read it too.
func (h *handler) writeDocument(ctx *fasthttp.RequestCtx, v any) {
	document, err := h.json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("BUG: marshal answer: " + err.Error())
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(append(document, '\n'))
}
