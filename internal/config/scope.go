package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scope is one section under check: its node for places, and the decoder to
// report to.
type scope struct {
	d *decoder
	n *yaml.Node
}

// has reports whether the section has the key, be its value right or wrong.
// Checks of what is missing ask this and not the decoded value, so that one
// mistake gives one problem.
func (s scope) has(key string) bool {
	n := lookup(s.n, key)
	return n != nil && !isNull(n)
}

// hasList reports whether the section has the key and its value is a list.
func (s scope) hasList(key string) bool {
	n := child(s.n, step{key: key})
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n != nil && n.Kind == yaml.SequenceNode
}

// problem reports a problem with a field, a dotted path below the section. An
// empty field means the section itself.
func (s scope) problem(field, format string, args ...any) {
	s.report(field, Problem{Message: fmt.Sprintf(format, args...)})
}

// warn is problem for what does not stop the document from loading.
func (s scope) warn(field, format string, args ...any) {
	s.report(field, Problem{Message: fmt.Sprintf(format, args...), Warning: true})
}

func (s scope) suggest(field, suggestion, format string, args ...any) {
	s.report(field, Problem{Message: fmt.Sprintf(format, args...), Suggestion: suggestion})
}

func (s scope) report(field string, p Problem) {
	steps := s.d.path
	n := s.n
	for _, st := range fieldSteps(field) {
		steps = append(steps[:len(steps):len(steps)], st)
		if n != nil {
			n = child(n, st)
		}
		if n != nil {
			p.Line, p.Column = n.Line, n.Column
		}
	}
	if p.Line == 0 {
		p.Line, p.Column = s.n.Line, s.n.Column
	}
	p.File, p.Path = s.d.file, pathText(steps)
	s.d.add(p)
}

// below returns the scope of a sub-section. The decoder's path is not changed,
// so fields are still named from s: it serves has only.
func (s scope) below(key string) scope {
	if n := lookup(s.n, key); n != nil {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		return scope{s.d, n}
	}
	return scope{s.d, &yaml.Node{Kind: yaml.MappingNode, Line: s.n.Line, Column: s.n.Column}}
}

func child(n *yaml.Node, st step) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if st.key != "" {
		return lookup(n, st.key)
	}
	if n.Kind == yaml.SequenceNode && st.index < len(n.Content) {
		return n.Content[st.index]
	}
	return nil
}

// fieldSteps splits "headers[0].regex". Keys with dots in them, such as some
// header names, are not split further when they come last.
func fieldSteps(field string) []step {
	var steps []step
	for field != "" {
		if rest, ok := strings.CutPrefix(field, "["); ok {
			number, after, _ := strings.Cut(rest, "]")
			index, err := strconv.Atoi(number)
			if err != nil {
				panic("BUG: bad path " + field)
			}
			steps = append(steps, step{index: index})
			field = strings.TrimPrefix(after, ".")
			continue
		}
		end := strings.IndexAny(field, ".[")
		if end < 0 {
			end = len(field)
		}
		steps = append(steps, step{key: field[:end]})
		field = strings.TrimPrefix(field[end:], ".")
	}
	return steps
}

// nearest returns the candidate that name was probably meant to be, or "".
func nearest(name string, candidates []string) string {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	previous, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], previous[j-1]+1)
			}
		}
		previous, row, next = row, next, previous
	}
	return row[len(b)]
}
