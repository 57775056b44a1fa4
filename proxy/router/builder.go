package router

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Builder gathers routes. The zero Builder is ready for use. It is not safe for
// use by several goroutines.
type Builder[T any] struct {
	routes  []*route
	values  []T
	methods methodNames
}

// Add adds a route. The error joins a *[FieldError] for every problem of the
// pattern; a route with an error is left out of the table, but keeps its number:
// routes are numbered from 0 by calls of Add. The pattern may be reused.
func (b *Builder[T]) Add(p Pattern, value T) error {
	index := len(b.values)
	b.values = append(b.values, value)
	r, err := compile(&p, index)
	if err != nil {
		return err
	}
	for i, m := range r.methods {
		if !b.methods.add(m) {
			return &FieldError{fmt.Sprintf("methods[%d]", i), errTooManyMethods}
		}
	}
	b.routes = append(b.routes, r)
	return nil
}

var errTooManyMethods = fmt.Errorf("more than %d methods beyond the standard ones", maxExtraMethods)

// Build makes the table of all routes that were added without an error. It is
// usable whatever problems are found with them: which of those are fatal is for
// the caller to say. More routes may be added afterwards for another table.
func (b *Builder[T]) Build() (*Table[T], []Problem) {
	t := &Table[T]{
		index: index{
			routes:   slices.Clone(b.routes),
			methods:  methodNames{extra: slices.Clone(b.methods.extra)},
			exact:    map[string]*tree{},
			wildcard: map[string]*tree{},
		},
		values: slices.Clone(b.values),
	}
	t.index.rank()
	// The last first: whatever comes later goes before what is there.
	for _, e := range slices.Backward(t.index.entries) {
		t.index.insert(e)
	}
	problems := t.index.problems()
	t.index.join()
	return t, problems
}

// rank makes the entries and puts them in the order of precedence.
func (x *index) rank() {
	for _, r := range x.routes {
		written, served := x.methods.listed(r.methods)
		var groups *path
		if r.path.groups != nil {
			groups = &r.path
		}
		for _, h := range r.hosts {
			x.entries = append(x.entries, &entry{
				index: int32(r.index), methods: served, preds: r.preds, names: r.path.names, groups: groups,
				route: r, host: h, written: written,
			})
		}
	}
	slices.SortFunc(x.entries, func(a, b *entry) int {
		order, _ := compareEntries(a, b)
		return order
	})
	for i, e := range x.entries {
		e.rank = int32(i)
	}
}

// compareEntries orders by precedence and names the rule that decided, as what
// the second is to the first.
func compareEntries(a, b *entry) (order int, rule string) {
	if c := cmp.Compare(b.route.priority, a.route.priority); c != 0 {
		return c, "lower priority than"
	}
	if c := compareHosts(a.host, b.host); c != 0 {
		return c, "host less specific than that of"
	}
	if c := strings.Compare(a.route.path.key, b.route.path.key); c != 0 {
		return c, "path less specific than that of"
	}
	if c := compareTrue(a.written != anyMethod, b.written != anyMethod); c != 0 {
		return c, "any method, less specific than the methods of"
	}
	p, q := a.preds.orNone(), b.preds.orNone()
	if c := cmp.Compare(len(q.headers), len(p.headers)); c != 0 {
		return c, "fewer header matchers than"
	}
	if c := cmp.Compare(len(q.queries), len(p.queries)); c != 0 {
		return c, "fewer query matchers than"
	}
	if c := cmp.Compare(len(q.cookies), len(p.cookies)); c != 0 {
		return c, "fewer cookie matchers than"
	}
	if c := compareTrue(len(p.inside)+len(p.outside) > 0, len(q.inside)+len(q.outside) > 0); c != 0 {
		return c, "any client, less specific than the networks of"
	}
	return cmp.Compare(a.route.index, b.route.index), "defined after"
}

// compareTrue orders true before false.
func compareTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// insert adds an entry to the tree of its host, where it must outrank all that
// are there.
func (x *index) insert(e *entry) {
	t := x.tree(e.host)
	if t == nil {
		t = &tree{root: node{lowest: noRank}}
		switch e.host.kind {
		case hostExact:
			x.exact[e.host.name] = t
		case hostWildcard:
			x.wildcard[e.host.name] = t
			x.longestWildcard = max(x.longestWildcard, len(e.host.name))
		default:
			x.any = t
		}
	}
	p := &e.route.path
	if p.re != nil {
		e.next, t.expressions = t.expressions, e
		return
	}
	n := &t.root
	n.lowest = e.rank
	for _, s := range p.segments {
		n = n.child(s)
		n.lowest = e.rank
	}
	list := n.list(p.tail)
	e.next, *list = *list, e
}

// join makes the trees smaller once they are complete.
func (x *index) join() {
	labels := map[string]string{}
	for _, t := range x.exact {
		t.root.join(labels)
	}
	for _, t := range x.wildcard {
		t.root.join(labels)
	}
	if x.any != nil {
		x.any.root.join(labels)
	}
}
