package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a document, or for a warning one
// thing that is probably not meant.
type Problem struct {
	// File is the file as it was named, or the environment variable that set
	// the value.
	File string `json:"file"`
	// Line and Column count from 1. 0 means that the problem has no place, such
	// as a file that cannot be read.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path leads to the value within its file: `routes[3].retries.attempts`.
	Path string `json:"path,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Suggestion is the nearest valid name, when there is one.
	Suggestion string `json:"suggestion,omitempty"`
	// Warning is set when the document loads all the same.
	Warning bool `json:"warning,omitempty"`
}

// String writes the problem in one line, as compilers do:
// `gateway.yaml:12:5: routes[3].retries.attempts: must not be negative`.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column))
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Suggestion != "" {
		b.WriteString("; did you mean " + strconv.Quote(p.Suggestion) + "?")
	}
	return b.String()
}

// Problems is everything that is wrong with a document, in the order of its
// files and lines.
type Problems []Problem

// Error writes one problem a line.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// fatal reports whether any problem is more than a warning.
func (ps Problems) fatal() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return !p.Warning })
}

// sortBy orders problems by file, in the order in which the files were read,
// then by place. Those of environment variables come last.
func (ps Problems) sortBy(fileOrder map[string]int) {
	rank := func(p Problem) int {
		if i, ok := fileOrder[p.File]; ok {
			return i
		}
		return len(fileOrder)
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Origin is where a list entry was written.
type Origin struct {
	// File, Line and Column are the place of the entry's first key.
	File   string
	Line   int
	Column int
	// Path is the entry's path within its file: `routes[3]`.
	Path string

	// keys are the places of the entry's own keys, so that a problem found
	// after loading can still name the line.
	keys []keyPlace
}

type keyPlace struct {
	key          string
	line, column int
}

// at returns a problem with field, a dotted path below the entry. Its place is
// that of the field's first key, or of the entry when the field is absent.
func (o Origin) at(field, message string, warning bool) Problem {
	p := Problem{File: o.File, Line: o.Line, Column: o.Column, Path: o.Path, Message: message, Warning: warning}
	if field == "" {
		return p
	}
	p.Path += "." + field
	first := field
	if i := strings.IndexAny(field, ".["); i >= 0 {
		first = field[:i]
	}
	for _, k := range o.keys {
		if k.key == first {
			p.Line, p.Column = k.line, k.column
			break
		}
	}
	return p
}

// ProblemAt returns a problem with a field of the route with this index:
// c.ProblemAt(3, "path", "matches nothing that …", false). An empty field
// means the route itself.
func (c *Config) ProblemAt(route int, field, message string, warning bool) Problem {
	return c.Routes[route].Origin.at(field, message, warning)
}

// UpstreamProblemAt is ProblemAt for the upstream with this index.
func (c *Config) UpstreamProblemAt(upstream int, field, message string, warning bool) Problem {
	return c.Upstreams[upstream].Origin.at(field, message, warning)
}
