package router

import (
	"bytes"
	"math"
)

// noRank is above every rank.
const noRank = math.MaxInt32

// tree holds the entries of one host.
type tree struct {
	root        node
	expressions []*entry // by rank
}

// node is a place in the paths of patterns, where all segments before it have
// matched. Its entries, by rank, differ in how the path ends.
type node struct {
	lowest int32 // rank in this node and below it; nothing better is to be found here

	edges  []edge           // to literals; empty if there are many
	many   map[string]*node // to literals by their segment; nil if there are few
	param  *node            // after a parameter
	end    []*entry         // tailEnd
	rest   []*entry         // tailRest
	prefix []*entry         // tailPrefix
}

// edge leads past a literal. Its label begins with a slash and may span several
// segments, if there is nothing else between them.
type edge struct {
	label string
	to    *node
}

// manyEdges is how many literals are worth a map.
const manyEdges = 8

// search is the state of one match, on the stack of its caller.
type search struct {
	path    []byte
	method  methodSet
	request *Request
	params  *Params // filled with what was found; nil when collecting

	best   int32 // rank of what was found
	found  *entry
	missed bool // some entry was passed over for its method

	collect bool      // find nothing, gather methods instead
	allow   methodSet // what was gathered

	depth int // parameters on the way to the current node
	spans [MaxParams]span
}

func (t *tree) search(s *search) {
	if t.root.lowest < s.best {
		t.root.walk(s, 0)
	}
	// No expression outranks a literal path and all of them outrank the
	// others: the ranks sort that out.
	for _, e := range t.expressions {
		if e.rank > s.best {
			return
		}
		if p := &e.route.path; bytes.HasPrefix(s.path, []byte(p.rePrefix)) && p.re.Match(s.path) {
			s.try(e)
		}
	}
}

// walk visits a node after path[:at]. What is left of the path is empty or
// begins with a slash, unless it is no path at all.
func (n *node) walk(s *search, at int) {
	if at == len(s.path) {
		s.tryAll(n.end)
		s.tryAll(n.prefix)
		return
	}
	if s.path[at] == '/' {
		n.walkSegment(s, at)
	}
	s.tryAll(n.prefix)
}

func (n *node) walkSegment(s *search, at int) {
	left := s.path[at:]
	for i := range n.edges {
		e := &n.edges[i]
		if size := len(e.label); len(left) >= size && string(left[:size]) == e.label &&
			(len(left) == size || left[size] == '/') {
			if e.to.lowest < s.best {
				e.to.walk(s, at+size)
			}
			break
		}
	}
	if n.many == nil && n.param == nil && n.rest == nil {
		return
	}
	end := len(left)
	if i := bytes.IndexByte(left[1:], '/'); i >= 0 {
		end = i + 1
	}
	if n.many != nil {
		if to := n.many[string(left[1:end])]; to != nil && to.lowest < s.best {
			to.walk(s, at+end)
		}
	}
	if end == 1 {
		return // an empty segment is no parameter
	}
	if n.param != nil && n.param.lowest < s.best {
		s.spans[s.depth] = span{int32(at + 1), int32(at + end)}
		s.depth++
		n.param.walk(s, at+end)
		s.depth--
	}
	if n.rest != nil {
		s.spans[s.depth] = span{int32(at + 1), int32(len(s.path))}
		s.depth++
		s.tryAll(n.rest)
		s.depth--
	}
}

func (s *search) tryAll(entries []*entry) {
	for _, e := range entries {
		if e.rank > s.best {
			return
		}
		s.try(e)
	}
}

// try takes an entry whose host and path match, if the remainder does too.
func (s *search) try(e *entry) {
	if e.methods&s.method == 0 {
		s.missed = true
		return
	}
	if e.preds != nil {
		fields := s.request.Fields
		if fields == nil {
			fields = noFields{}
		}
		if !e.preds.match(fields) {
			return
		}
	}
	if s.collect {
		s.allow |= e.methods
		return
	}
	s.best, s.found = e.rank, e
	copy(s.params.spans[:s.depth], s.spans[:s.depth])
}

// fill completes the parameters of what was found.
func (s *search) fill() {
	p := &s.found.route.path
	s.params.names = p.names
	if len(p.groups) == 0 {
		return
	}
	found := p.re.FindSubmatchIndex(s.path)
	for i, group := range p.groups {
		s.params.spans[i] = span{int32(found[2*group]), int32(found[2*group+1])}
	}
}
