// Package transform owns rewrites that are compiled once, when a snapshot is
// built, and run without allocating: value templates, header edits and path
// rewrites. It does not know where values come from (Values) nor what holds
// the headers (Headers), and decides nothing about when a rewrite runs.
package transform

import (
	"fmt"
	"slices"
	"strings"
)

// Var is a variable that a template may use.
type Var uint8

// The variables. Those that end in a name take what follows the dot:
// ${header.X-Plan}.
const (
	ClientIP  Var = iota + 1 // ${client_ip}: the client's address, behind trusted proxies the forwarded one
	RequestID                // ${request_id}
	Host                     // ${host}: as the client sent it, lower case, without port
	Method                   // ${method}
	Path                     // ${path}: canonical, as matched
	Query                    // ${query}: raw, without "?"
	Scheme                   // ${scheme}: http or https
	RouteName                // ${route}
	Param                    // ${param.NAME}: a path parameter
	Header                   // ${header.NAME}: a request header, as received
	QueryArg                 // ${query.NAME}: a query parameter's first value, as sent
	Cookie                   // ${cookie.NAME}: a request cookie
	Identity                 // ${identity}: who calls, as authentication found
	Claim                    // ${claim.PATH}: what a caller's token says
	ClientNet                // ${client_net}: the client's IPv4 address, or the first 64 bits of its IPv6 address
)

var plain = []struct {
	name string
	v    Var
}{
	{"client_ip", ClientIP},
	{"client_net", ClientNet},
	{"identity", Identity},
	{"request_id", RequestID},
	{"host", Host},
	{"method", Method},
	{"path", Path},
	{"query", Query},
	{"scheme", Scheme},
	{"route", RouteName},
}

var named = []struct {
	prefix string
	v      Var
}{
	{"param.", Param}, {"header.", Header}, {"query.", QueryArg}, {"cookie.", Cookie}, {"claim.", Claim},
}

// Variables lists every variable, in the form an operator writes.
func Variables() []string {
	var out []string
	for _, p := range plain {
		out = append(out, "${"+p.name+"}")
	}
	for _, n := range named {
		out = append(out, "${"+n.prefix+"NAME}")
	}
	return out
}

// Values supplies the variables of one request. AppendVar appends nothing for
// a value that is absent. What it appends must be safe in a header field: no
// CR, LF or NUL.
type Values interface {
	AppendVar(dst []byte, v Var, name string) []byte
}

// Template is text with variables, compiled. The zero value is the empty text.
type Template struct {
	parts []part
}

// part is literal text, or a variable when v is set.
type part struct {
	text []byte
	name string
	v    Var
}

// ParseTemplate compiles text. "$${" stands for a literal "${". Unknown
// variables and unclosed braces are errors.
func ParseTemplate(text string) (Template, error) {
	var t Template
	var lit []byte
	flush := func() {
		if len(lit) > 0 {
			t.parts = append(t.parts, part{text: lit})
			lit = nil
		}
	}
	for text != "" {
		i := strings.Index(text, "${")
		if i < 0 {
			lit = append(lit, text...)
			break
		}
		if i > 0 && text[i-1] == '$' {
			lit = append(append(lit, text[:i-1]...), "${"...)
			text = text[i+2:]
			continue
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return Template{}, fmt.Errorf("parse template: %q has no closing brace", text[i:])
		}
		lit = append(lit, text[:i]...)
		p, err := parseVar(text[i+2 : i+end])
		if err != nil {
			return Template{}, err
		}
		flush()
		t.parts = append(t.parts, p)
		text = text[i+end+1:]
	}
	flush()
	return t, nil
}

func parseVar(s string) (part, error) {
	for _, p := range plain {
		if s == p.name {
			return part{v: p.v}, nil
		}
	}
	for _, n := range named {
		if name, ok := strings.CutPrefix(s, n.prefix); ok && name != "" {
			return part{v: n.v, name: name}, nil
		}
	}
	return part{}, fmt.Errorf("parse template: unknown variable ${%s}; known are %s", s, strings.Join(Variables(), ", "))
}

// Empty reports whether the template is the empty text.
func (t Template) Empty() bool { return len(t.parts) == 0 }

// Params returns the names of the path parameters that the template uses.
func (t Template) Params() []string {
	var out []string
	for _, p := range t.parts {
		if p.v == Param && !slices.Contains(out, p.name) {
			out = append(out, p.name)
		}
	}
	return out
}

// Static returns the text of a template without variables.
func (t Template) Static() ([]byte, bool) {
	switch {
	case len(t.parts) == 0:
		return nil, true
	case len(t.parts) == 1 && t.parts[0].v == 0:
		return t.parts[0].text, true
	}
	return nil, false
}

// AppendTo appends the template's text for a request. It allocates only when
// dst must grow.
func (t Template) AppendTo(dst []byte, v Values) []byte {
	for i := range t.parts {
		if p := &t.parts[i]; p.v == 0 {
			dst = append(dst, p.text...)
		} else {
			dst = v.AppendVar(dst, p.v, p.name)
		}
	}
	return dst
}
