package proxy

import (
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/proxy/transform"
)

// NewHeaderPhase returns the phase that edits the request's header, the
// response's, or both; nil-able programs are empty ones.
func NewHeaderPhase(request, response transform.Program) Phase {
	p := Phase{Slot: Shape, Name: "headers"}
	if !request.Empty() {
		p.Request = requestHeaders{request}
	}
	if !response.Empty() {
		p.Response = responseHeaders{response}
	}
	return p
}

type requestHeaders struct{ program transform.Program }

func (p requestHeaders) Enter(x *Exchange) Verdict {
	x.arena = p.program.Apply(&x.fields, x, x.arena)
	return Continue
}

type responseHeaders struct{ program transform.Program }

func (p responseHeaders) Leave(x *Exchange) {
	x.arena = p.program.Apply((*responseEditor)(&x.Ctx.Response.Header), x, x.arena)
}

// responseEditor is a response header as transform.Headers.
type responseEditor fasthttp.ResponseHeader

func (r *responseEditor) Set(name string, value []byte) {
	h := (*fasthttp.ResponseHeader)(r)
	h.Del(name) // fasthttp would replace the first of several only
	h.SetBytesV(name, value)
}

func (r *responseEditor) Add(name string, value []byte) {
	(*fasthttp.ResponseHeader)(r).AddBytesV(name, value)
}

func (r *responseEditor) Remove(name string) { (*fasthttp.ResponseHeader)(r).Del(name) }

// FixedResponse is an Answer with a fixed response.
type FixedResponse struct {
	Status      int
	ContentType string
	Body        []byte
	Headers     transform.Program
}

// Answer implements Answer.
func (a *FixedResponse) Answer(x *Exchange) {
	OwnResponse(x.Ctx)
	resp := &x.Ctx.Response
	resp.SetStatusCode(a.Status)
	if len(a.Body) > 0 {
		resp.Header.SetContentType(a.ContentType)
		resp.SetBodyRaw(a.Body)
	}
	x.arena = a.Headers.Apply((*responseEditor)(&resp.Header), x, x.arena)
}

// Redirect is an Answer with another location. Empty parts stay as the client
// asked for them.
type Redirect struct {
	Code       int
	Scheme     string
	Host       string
	Port       int // zero: the scheme's own if Scheme or Host is set, else the client's
	Path       *transform.Template
	StripQuery bool
}

// Answer implements Answer.
func (a *Redirect) Answer(x *Exchange) {
	start := len(x.arena)
	b := x.arena
	if a.Scheme != "" || a.Host != "" || a.Port != 0 {
		b = a.appendOrigin(b, x)
	}
	if a.Path != nil {
		b = a.Path.AppendTo(b, x)
	} else {
		b = append(b, x.Path...)
	}
	if !a.StripQuery && len(x.query) > 0 {
		b = append(append(b, '?'), x.query...)
	}
	x.arena = b
	OwnResponse(x.Ctx)
	resp := &x.Ctx.Response
	resp.SetStatusCode(a.Code)
	resp.Header.SetBytesV("Location", b[start:])
}

func (a *Redirect) appendOrigin(b []byte, x *Exchange) []byte {
	if a.Scheme != "" {
		b = append(b, a.Scheme...)
	} else {
		b = append(b, x.scheme()...)
	}
	b = append(b, "://"...)
	if a.Host != "" {
		b = append(b, a.Host...)
	} else {
		b = append(b, x.host...)
	}
	if a.Port != 0 {
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(a.Port), 10)
	}
	return b
}
