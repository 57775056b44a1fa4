package router

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// tail is how the path of a pattern ends after its segments.
type tail uint8

const (
	tailEnd    tail = iota // the path ends here
	tailRest               // {name...}: one or more segments follow
	tailPrefix             // /*: anything or nothing follows
)

// segment is a literal in canonical form, or a parameter. A path that ends
// with a slash ends with an empty literal.
type segment struct {
	literal string
	param   bool
}

// path is the path of a pattern, compiled.
type path struct {
	text     string // as written
	segments []segment
	tail     tail
	names    []string // of the parameters, in order

	re       *regexp.Regexp // nil unless an expression
	rePrefix string         // every match begins so
	groups   []int          // the groups of re that names are for

	// key orders paths by precedence, see pathKey. Two paths of the same
	// key match the same requests, unless they are expressions.
	key string
}

func (c *compilation) path(text string) path {
	p := path{text: text}
	switch {
	case text == "":
		p.text, p.tail = "/*", tailPrefix
	case text[0] == '~':
		c.expression(&p, text[1:])
	case text[0] == '/':
		c.segments(&p, text[1:])
	default:
		c.report("path", "path %q must begin with / or, for an expression, with ~", text)
	}
	if len(p.names) > MaxParams {
		c.report("path", "path %q has %d parameters, at most %d are possible", text, len(p.names), MaxParams)
	}
	p.key = pathKey(&p)
	return p
}

func (c *compilation) expression(p *path, expr string) {
	re, err := compileWhole(expr)
	if err != nil {
		c.report("path", "compile expression: %w", err)
		return
	}
	p.re = re
	for group, name := range re.SubexpNames() {
		if slices.Contains(p.names, name) {
			c.report("path", "path %q: group %s is used twice", p.text, name)
		} else if name != "" {
			p.names = append(p.names, name)
			p.groups = append(p.groups, group)
		}
	}
	// A literal beginning lets most requests skip the expression. It is
	// hidden by an anchor, which can go: with it no more would match.
	if bare, err := regexp.Compile(strings.TrimPrefix(expr, "^")); err == nil {
		p.rePrefix, _ = bare.LiteralPrefix()
	}
}

func (c *compilation) segments(p *path, text string) {
	parts := strings.Split(text, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "*" && last:
			p.tail = tailPrefix
		case strings.Contains(part, "*"):
			c.report("path", "path %q: \"*\" can only be the whole last segment", p.text)
		case strings.ContainsAny(part, "{}"):
			c.parameter(p, part, last)
		case part == "" && !last:
			c.report("path", "path %q: a segment is empty, which no canonical path has", p.text)
		default:
			literal, err := canonicalSegment(part)
			if err != nil {
				c.report("path", "path %q: segment %q: %w", p.text, part, err)
			}
			p.segments = append(p.segments, segment{literal: literal})
		}
	}
}

func (c *compilation) parameter(p *path, part string, last bool) {
	name, rest := part, false
	if strings.HasPrefix(name, "{") && strings.HasSuffix(name, "}") {
		name = name[1 : len(name)-1]
		name, rest = strings.CutSuffix(name, "...")
	}
	switch {
	case !isParamName(name):
		c.report("path", "path %q: a parameter is a whole segment {name} of letters, digits and _, got %q", p.text, part)
	case slices.Contains(p.names, name):
		c.report("path", "path %q: parameter {%s} is used twice", p.text, name)
	case rest && !last:
		c.report("path", "path %q: {%s...} must be the last segment", p.text, name)
	}
	p.names = append(p.names, name)
	if rest {
		p.tail = tailRest
	} else {
		p.segments = append(p.segments, segment{param: true})
	}
}

func isParamName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

var errDotSegment = errors.New("no canonical path has a dot segment")

func canonicalSegment(part string) (string, error) {
	canonical, _, err := AppendCanonical(nil, []byte("/"+part))
	if errors.Is(err, ErrAboveRoot) || err == nil && len(canonical) == 1 && part != "" {
		return "", errDotSegment
	}
	if err != nil {
		return "", err
	}
	return string(canonical[1:]), nil
}

// pathKey returns a string whose byte order is the precedence of paths: a
// class, then for each segment its kind and its text. The kinds are below
// every byte that a canonical path can have, so no text runs into the next.
func pathKey(p *path) string {
	const (
		classLiteral, classExpression, classOther = '\x01', '\x02', '\x03'
		kindLiteral, kindParam                    = '\x02', '\x03'
	)
	if p.re != nil {
		return string(classExpression)
	}
	var key strings.Builder
	if p.tail == tailEnd && len(p.names) == 0 {
		key.WriteByte(classLiteral)
	} else {
		key.WriteByte(classOther)
	}
	for _, s := range p.segments {
		if s.param {
			key.WriteByte(kindParam)
			continue
		}
		key.WriteByte(kindLiteral)
		key.WriteString(s.literal)
	}
	key.WriteByte([...]byte{tailEnd: '\x01', tailRest: '\x04', tailPrefix: '\x05'}[p.tail])
	return key.String()
}
