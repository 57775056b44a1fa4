package transform

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Rewrite changes a request's path. The zero value leaves it alone.
type Rewrite struct {
	strip    []byte
	template *Template
	pattern  *regexp.Regexp
	replace  []byte
}

// RewriteSpec is what the operator wrote. StripPrefix may be combined with either
// Template or Pattern, which then see the stripped path; those two exclude
// each other.
type RewriteSpec struct {
	// StripPrefix is removed from the front of the path on a segment
	// boundary; a path without it is left alone.
	StripPrefix string
	// Template is the new path: /v2/${param.id}.
	Template string
	// Pattern is an RE2 expression and Replacement what its first match
	// becomes, with $1 or ${name}.
	Pattern, Replacement string
}

// CompileRewrite checks and compiles a rewrite.
func CompileRewrite(s RewriteSpec) (Rewrite, error) {
	var p Rewrite
	var errs []error
	if s.StripPrefix != "" {
		prefix := strings.TrimRight(s.StripPrefix, "/")
		if !strings.HasPrefix(prefix, "/") {
			errs = append(errs, fmt.Errorf("compile path rewrite: prefix %q must start with / and name a segment", s.StripPrefix))
		}
		p.strip = []byte(prefix)
	}
	if s.Template != "" && s.Pattern != "" {
		errs = append(errs, errors.New("compile path rewrite: a template and a pattern exclude each other"))
	}
	if s.Template != "" {
		t, err := ParseTemplate(s.Template)
		if err != nil {
			errs = append(errs, err)
		} else if !strings.HasPrefix(s.Template, "/") {
			errs = append(errs, fmt.Errorf("compile path rewrite: %q must start with /", s.Template))
		}
		p.template = &t
	}
	if s.Pattern != "" {
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			errs = append(errs, fmt.Errorf("compile path rewrite: %w", err))
		}
		p.pattern, p.replace = re, []byte(s.Replacement)
	}
	return p, errors.Join(errs...)
}

// Empty reports whether the rewrite leaves every path alone.
func (p *Rewrite) Empty() bool { return p.strip == nil && p.template == nil && p.pattern == nil }

// Params returns the names of the path parameters that the rewrite uses.
func (p *Rewrite) Params() []string {
	if p.template == nil {
		return nil
	}
	return p.template.Params()
}

// Apply returns the rewritten path, which always starts with a slash. It
// borrows from path or from arena, which it returns extended. A pattern
// allocates, as the regexp package does for submatches; the rest does not.
func (p *Rewrite) Apply(path []byte, v Values, arena []byte) (rewritten, extended []byte) {
	if n := len(p.strip); n > 0 && bytes.HasPrefix(path, p.strip) {
		switch {
		case len(path) == n:
			path = slash
		case path[n] == '/':
			path = path[n:]
		}
	}
	start := len(arena)
	switch {
	case p.template != nil:
		arena = p.template.AppendTo(arena, v)
		path = arena[start:len(arena):len(arena)]
	case p.pattern != nil:
		m := p.pattern.FindSubmatchIndex(path)
		if m == nil {
			break
		}
		arena = append(arena, path[:m[0]]...)
		arena = p.pattern.Expand(arena, p.replace, path, m)
		arena = append(arena, path[m[1]:]...)
		path = arena[start:len(arena):len(arena)]
	}
	if len(path) == 0 || path[0] != '/' {
		start = len(arena)
		arena = append(append(arena, '/'), path...)
		path = arena[start:len(arena):len(arena)]
	}
	return path, arena
}

var slash = []byte("/")
