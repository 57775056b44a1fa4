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
	expressions *entry // the first of a list
}

// node is a place in the paths of patterns. Its entries differ in how the path
// ends after it. What a match reads of a node is kept small and together: with
// thousands of routes its cost is that of fetching memory.
type node struct {
	label  string // literal text on the way in; begins with a slash unless empty
	lowest int32  // rank here and below: nothing better is to be found

	first *node            // of the literals that may follow, if they are few
	next  *node            // another literal that may follow the same node
	many  map[string]*node // literals that may follow, by segment, if they are many
	param *node            // what follows a parameter

	end    *entry // the first of those with tailEnd
	rest   *entry // with tailRest
	prefix *entry // with tailPrefix
}

// search is the state of one match, on the stack of its caller.
type search struct {
	path    []byte
	method  methodSet
	request *Request
	params  *Params // gets the spans of what was found; nil when collecting

	best   int32 // rank of what was found
	found  *entry
	missed bool // some entry was passed over for its method

	collect bool      // find nothing, gather methods instead
	allow   methodSet // what was gathered

	depth int // parameters on the way to the current node
	spans [MaxParams]span
}

func (t *tree) search(s *search) {
	t.root.walk(s, 0)
	// No expression outranks a literal path and all of them outrank the
	// others: the ranks sort that out.
	for e := t.expressions; e != nil && e.rank < s.best; e = e.next {
		if p := &e.route.path; bytes.HasPrefix(s.path, []byte(p.rePrefix)) && p.re.Match(s.path) {
			s.try(e)
		}
	}
}

// walk enters a node after path[:at] and goes on from there, the most specific
// way first. What is left of the path is empty or begins with a slash, unless it
// is no path at all.
func (n *node) walk(s *search, at int) {
	if n.lowest > s.best {
		return
	}
	if size := len(n.label); size > 0 {
		left := s.path[at:]
		if len(left) < size || string(left[:size]) != n.label || len(left) > size && left[size] != '/' {
			return
		}
		at += size
	}
	if at == len(s.path) {
		s.tryAll(n.end)
	} else if s.path[at] == '/' {
		n.walkSegment(s, at)
	}
	s.tryAll(n.prefix)
}

func (n *node) walkSegment(s *search, at int) {
	for to := n.first; to != nil; to = to.next {
		to.walk(s, at)
	}
	if n.many == nil && n.param == nil && n.rest == nil {
		return
	}
	start, end := at+1, len(s.path)
	if size := bytes.IndexByte(s.path[start:], '/'); size >= 0 {
		end = start + size
	}
	if n.many != nil {
		if to := n.many[string(s.path[start:end])]; to != nil {
			to.walk(s, end)
		}
	}
	if start == end {
		return // an empty segment is no parameter
	}
	s.depth++
	if n.param != nil {
		s.spans[s.depth-1] = span{int32(start), int32(end)}
		n.param.walk(s, end)
	}
	if n.rest != nil {
		s.spans[s.depth-1] = span{int32(start), int32(len(s.path))}
		s.tryAll(n.rest)
	}
	s.depth--
}

// tryAll tries the entries of a list, which are in the order of rank.
func (s *search) tryAll(e *entry) {
	for ; e != nil && e.rank < s.best; e = e.next {
		s.try(e)
	}
}

// try takes an entry whose host and path match, if the remainder does too.
func (s *search) try(e *entry) {
	if e.methods&s.method == 0 {
		s.missed = true
		return
	}
	if e.preds != nil && !s.satisfies(e.preds) {
		return
	}
	if s.collect {
		s.allow |= e.methods
		return
	}
	s.best, s.found = e.rank, e
	copy(s.params.spans[:s.depth], s.spans[:s.depth])
}

func (s *search) satisfies(p *predicates) bool {
	if s.request.Fields == nil {
		return p.match(noFields{})
	}
	return p.match(s.request.Fields)
}

// capture fills the parameters from the groups of an expression that matches.
func (p *path) capture(path []byte, ps *Params) {
	found := p.re.FindSubmatchIndex(path)
	for i, group := range p.groups {
		ps.spans[i] = span{int32(found[2*group]), int32(found[2*group+1])}
	}
}

// child returns the node after a segment, which it makes if need be.
func (n *node) child(s segment) *node {
	if s.param {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	if to := n.literal(s.literal); to != nil {
		return to
	}
	if n.many == nil && n.count() == maxFew {
		n.many = make(map[string]*node)
		for to := n.first; to != nil; to = to.next {
			n.many[to.label[1:]] = to
		}
		for _, to := range n.many {
			to.label, to.next = "", nil
		}
		n.first = nil
	}
	to := &node{}
	if n.many != nil {
		n.many[s.literal] = to
	} else {
		to.label, to.next = "/"+s.literal, n.first
		n.first = to
	}
	return to
}

// maxFew is how many literals are looked at one by one.
const maxFew = 4

func (n *node) count() (few int) {
	for to := n.first; to != nil; to = to.next {
		few++
	}
	return few
}

// literal returns the node after a literal segment, or nil. It is of no use
// once labels have been joined.
func (n *node) literal(text string) *node {
	if n.many != nil {
		return n.many[text]
	}
	for to := n.first; to != nil; to = to.next {
		if to.label[1:] == text {
			return to
		}
	}
	return nil
}

// list returns where the entries of a tail begin.
func (n *node) list(t tail) **entry {
	switch t {
	case tailEnd:
		return &n.end
	case tailRest:
		return &n.rest
	default:
		return &n.prefix
	}
}

// join takes into a node what follows it, wherever a path can only go straight
// on, and has equal labels share their text: there is less memory to fetch.
func (n *node) join(labels map[string]string) {
	for n.isStraight() {
		label, next := n.label+n.first.label, n.next
		*n = *n.first
		n.label, n.next = label, next
	}
	if shared, ok := labels[n.label]; ok {
		n.label = shared
	} else {
		labels[n.label] = n.label
	}
	for to := n.first; to != nil; to = to.next {
		to.join(labels)
	}
	for _, to := range n.many {
		to.join(labels)
	}
	if n.param != nil {
		n.param.join(labels)
	}
}

// isStraight reports whether one literal is all that can follow.
func (n *node) isStraight() bool {
	return n.first != nil && n.first.next == nil && n.param == nil && n.end == nil && n.rest == nil && n.prefix == nil
}
