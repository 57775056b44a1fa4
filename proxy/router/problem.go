package router

import (
	"fmt"
	"slices"
)

// ProblemKind says what is wrong between two routes.
type ProblemKind uint8

// The kinds of problem. The zero ProblemKind is none.
const (
	// Conflict: the routes match the same requests, or the same requests of
	// some methods or hosts, and only the order of definition decides.
	Conflict ProblemKind = iota + 1
	// Unreachable: the other route wins every request that this one matches.
	Unreachable
)

// Problem is something an operator should know about two routes.
type Problem struct {
	Kind    ProblemKind
	Route   int // the route that loses, in Add order
	Other   int // the route that wins
	Message string
}

// place is where in the trees an entry stands: entries of one place match the
// same hosts and paths, and have the same predicates.
type place struct {
	node  *node
	tail  tail
	expr  string // for expressions, whose node is the root
	preds string
}

func placeOf(n *node, t tail, preds *predicates) place {
	return place{node: n, tail: t, preds: preds.orNone().key}
}

// survey looks for problems. Every entry is held against those that outrank it
// and match all it does, which lie on few ways through the trees: the work grows
// with the number of routes and not with its square.
type survey struct {
	index *index
	// winners has the entries of each place by rank, without those that add
	// nothing to the ones before them, so that they are never more than
	// there are methods.
	winners  map[place][]*entry
	problems []Problem
}

func (x *index) problems() []Problem {
	v := &survey{index: x, winners: make(map[place][]*entry, len(x.entries))}
	// For each route: how many of its hosts are covered, by whom at last,
	// and whether a conflict says so already.
	type state struct {
		covered  int
		by       *entry
		conflict bool
	}
	states := make(map[*route]*state, len(x.routes))
	reported := map[[2]int]bool{}
	for _, e := range x.entries {
		st := states[e.route]
		if st == nil {
			st = &state{}
			states[e.route] = st
		}
		home := v.home(e)
		d := v.coverOf(e)
		if d != nil {
			st.covered++
			st.by = d
		}
		if other := v.conflictOf(e, d, home); other != nil {
			st.conflict = true
			if pair := [2]int{e.route.index, other.route.index}; !reported[pair] {
				reported[pair] = true
				v.report(Conflict, e, other, v.conflictMessage(e, other))
			}
		}
		if !slices.ContainsFunc(v.winners[home], e.addsNothingTo) {
			v.winners[home] = append(v.winners[home], e)
		}
	}
	for _, r := range x.routes {
		if st := states[r]; st.covered == len(r.hosts) && !st.conflict {
			v.report(Unreachable, &entry{route: r}, st.by, fmt.Sprintf(
				"route %s is never reached: route %s (path %s) wins all it matches",
				r.label(), st.by.route.label(), st.by.route.path.text))
		}
	}
	return v.problems
}

func (v *survey) report(kind ProblemKind, e, other *entry, message string) {
	v.problems = append(v.problems, Problem{kind, e.route.index, other.route.index, message})
}

func (v *survey) conflictMessage(e, other *entry) string {
	return fmt.Sprintf("routes %s and %s both match %s on host %s, path %s: %s wins only because it is defined first",
		other.route.label(), e.route.label(), v.index.methods.join(e.written&other.written),
		e.host, e.route.path.text, other.route.label())
}

// home returns the place of an entry.
func (v *survey) home(e *entry) place {
	t, p := v.index.tree(e.host), &e.route.path
	if p.re != nil {
		return place{node: &t.root, expr: p.text, preds: e.preds.orNone().key}
	}
	n := &t.root
	for _, s := range p.segments {
		n = n.child(s)
	}
	return placeOf(n, p.tail, e.preds)
}

// conflictOf returns the entry that only the order of definition puts before e.
// A route that covers e for another reason, or with more methods, leaves it
// unreachable instead.
func (v *survey) conflictOf(e, cover *entry, home place) *entry {
	for _, d := range v.winners[home] {
		if d.route == e.route || d.route.priority != e.route.priority {
			continue
		}
		same := d.methods == e.methods
		if same || cover == nil && d.written != anyMethod && e.written != anyMethod && d.written&e.written != 0 {
			return d
		}
	}
	return nil
}

// coverOf returns an entry that wins every request that e matches, or nil.
func (v *survey) coverOf(e *entry) *entry {
	x := v.index
	if d := v.coverIn(x.tree(e.host), e); d != nil {
		return d
	}
	if e.host.kind != hostAny {
		for i := range len(e.host.name) {
			if e.host.name[i] != '.' {
				continue
			}
			if d := v.coverIn(x.wildcard[e.host.name[i+1:]], e); d != nil {
				return d
			}
		}
		if x.any != nil {
			return v.coverIn(x.any, e)
		}
	}
	return nil
}

func (v *survey) coverIn(t *tree, e *entry) *entry {
	if t == nil {
		return nil
	}
	p := &e.route.path
	if p.re == nil {
		return v.coverFrom(&t.root, e, p.segments)
	}
	if d := v.winner(place{node: &t.root, expr: p.text}, e); d != nil {
		return d
	}
	return v.winner(placeOf(&t.root, tailPrefix, nil), e)
}

// coverFrom looks at a node and below for paths that include all that the
// segments left, and the tail, of e stand for.
func (v *survey) coverFrom(n *node, e *entry, left []segment) *entry {
	if n.lowest >= e.rank {
		return nil
	}
	if len(left) == 0 {
		for t := e.route.path.tail; ; t = tailPrefix {
			if d := v.winner(placeOf(n, t, nil), e); d != nil || t == tailPrefix {
				return d
			}
		}
	}
	s := left[0]
	if !s.param {
		if to := n.literal(s.literal); to != nil {
			if d := v.coverFrom(to, e, left[1:]); d != nil {
				return d
			}
		}
	}
	if s.param || s.literal != "" {
		if n.param != nil {
			if d := v.coverFrom(n.param, e, left[1:]); d != nil {
				return d
			}
		}
		if d := v.winner(placeOf(n, tailRest, nil), e); d != nil {
			return d
		}
	}
	return v.winner(placeOf(n, tailPrefix, nil), e)
}

// winner returns the entry of a place, with no predicates or with those of e,
// that outranks e and serves all its methods.
func (v *survey) winner(at place, e *entry) *entry {
	for {
		for _, d := range v.winners[at] {
			if d.rank < e.rank && e.addsNothingTo(d) {
				return d
			}
		}
		if e.preds == nil || at.preds != "" {
			return nil
		}
		at.preds = e.preds.key
	}
}

// addsNothingTo reports whether d serves every method that e does.
func (e *entry) addsNothingTo(d *entry) bool { return d.methods&e.methods == e.methods }
