package router

// Request is what a match looks at. Nothing of it is kept.
type Request struct {
	// Host is in lower case, without port and without a trailing dot. An
	// IPv6 address keeps its brackets.
	Host []byte
	// Method is as received.
	Method []byte
	// Path is in canonical form, see AppendCanonical. A target that is not
	// a path (the * of OPTIONS) only matches routes for any path.
	Path []byte
	// Fields answers predicates. If nil, the request has no fields.
	Fields Fields
}

// Outcome is how a match ended.
type Outcome uint8

// The outcomes. The zero Outcome is NotFound.
const (
	NotFound         Outcome = iota
	Found                    // a route matches
	MethodNotAllowed         // one would have, but for its method
)

// Table maps requests to values. It is made by a [Builder], never changes, and
// may be used by any number of goroutines.
type Table[T any] struct {
	index  index
	values []T // by route
}

// Len returns the number of routes.
func (t *Table[T]) Len() int { return len(t.index.routes) }

// Match returns the value of the route that wins the request, and fills ps with
// the parameters of its path. For MethodNotAllowed, allow is the Allow field's
// value: the methods that some route would have taken, in alphabetical order.
//
// Match does not allocate, save for the value of allow and for a winning
// expression with named groups.
func (t *Table[T]) Match(r *Request, ps *Params) (value T, outcome Outcome, allow string) {
	ps.names = nil
	e, missed := t.index.find(r, ps)
	if e != nil {
		return t.values[e.index], Found, ""
	}
	if missed {
		if set := t.index.allowed(r); set != 0 {
			return value, MethodNotAllowed, t.index.methods.join(set)
		}
	}
	return value, NotFound, ""
}

// index is a table without its values.
type index struct {
	routes  []*route // in Add order, without those that were refused
	entries []*entry // by rank
	methods methodNames

	exact           map[string]*tree
	wildcard        map[string]*tree // by what follows "*."
	longestWildcard int              // of the keys of wildcard
	any             *tree            // nil if every route names its hosts
}

// entry is one host of one route. What a match reads comes first.
type entry struct {
	rank    int32
	index   int32     // of the route
	methods methodSet // served
	preds   *predicates
	next    *entry   // of the same place in the tree, with a higher rank
	names   []string // of the parameters
	groups  *path    // an expression whose groups they are, or nil

	route   *route
	host    host
	written methodSet
}

// find returns the entry of the lowest rank that matches, if any. If there is
// none, missed tells whether a method was in the way.
func (x *index) find(r *Request, ps *Params) (e *entry, missed bool) {
	s := search{path: r.Path, method: x.methods.of(r.Method), request: r, params: ps, best: noRank}
	x.visit(&s, r.Host)
	if s.found == nil {
		return nil, s.missed
	}
	ps.names = s.found.names
	if p := s.found.groups; p != nil {
		p.capture(r.Path, ps)
	}
	return s.found, false
}

// allowed returns the methods with which some route would match.
func (x *index) allowed(r *Request) methodSet {
	s := search{path: r.Path, method: anyMethod, request: r, best: noRank, collect: true}
	x.visit(&s, r.Host)
	return s.allow
}

// visit runs a search over the trees that a host belongs to, the most specific
// first. A tree with nothing that outranks what was found is skipped.
func (x *index) visit(s *search, host []byte) {
	if len(x.exact) > 0 {
		if t := x.exact[string(host)]; t != nil {
			t.search(s)
		}
	}
	if len(x.wildcard) > 0 {
		for i := max(1, len(host)-x.longestWildcard-1); i < len(host); i++ {
			if host[i] != '.' {
				continue
			}
			if t := x.wildcard[string(host[i+1:])]; t != nil {
				t.search(s)
			}
		}
	}
	if x.any != nil {
		x.any.search(s)
	}
}

// tree returns the tree of a host, or nil.
func (x *index) tree(h host) *tree {
	switch h.kind {
	case hostExact:
		return x.exact[h.name]
	case hostWildcard:
		return x.wildcard[h.name]
	default:
		return x.any
	}
}
