package router

import "fmt"

// Candidate is what became of one route when a request was explained.
type Candidate struct {
	Route  int // in Add order
	Name   string
	Won    bool
	Reason string // why it won or lost, in words
}

// Explain tells for every route why it wins a request or does not, in the order
// of precedence. It looks at all routes and allocates: not for the hot path.
func (t *Table[T]) Explain(r *Request) []Candidate {
	x := &t.index
	var ps Params
	winner, _ := x.find(r, &ps)
	verdicts := make(map[*route]verdict, len(x.routes))
	var order []*route
	for _, e := range x.entries {
		known, seen := verdicts[e.route]
		if !seen {
			order = append(order, e.route)
		}
		if v := x.judge(e, r, winner); !seen || v.progress > known.progress {
			verdicts[e.route] = v
		}
	}
	candidates := make([]Candidate, 0, len(order))
	for _, route := range order {
		v := verdicts[route]
		candidates = append(candidates, Candidate{route.index, route.name, v.progress == won, v.reason})
	}
	return candidates
}

// progress is how far an entry came. Of the hosts of a route, the one that came
// farthest speaks for it.
type progress uint8

const (
	lostHost progress = iota
	lostPath
	lostMethod
	lostPredicate
	lostPrecedence
	won
)

type verdict struct {
	progress progress
	reason   string
}

func (x *index) judge(e *entry, r *Request, winner *entry) verdict {
	if !e.host.matches(string(r.Host)) {
		return verdict{lostHost, fmt.Sprintf("host %s does not match %s", e.host, r.Host)}
	}
	if !matchesPath(e, r.Path) {
		return verdict{lostPath, fmt.Sprintf("path %s does not match %s", e.route.path.text, r.Path)}
	}
	if x.methods.of(r.Method)&e.methods == 0 {
		return verdict{lostMethod, fmt.Sprintf("path matches, method %s not in [%s]", r.Method, x.methods.join(e.methods))}
	}
	if reason := e.preds.orNone().refuse(r.Fields); reason != "" {
		return verdict{lostPredicate, reason}
	}
	if e == winner {
		return verdict{won, fmt.Sprintf("host %s, path %s and all else match", e.host, e.route.path.text)}
	}
	_, rule := compareEntries(winner, e)
	return verdict{lostPrecedence, fmt.Sprintf("matches, but %s %s", rule, winner.route.label())}
}

// matchesPath puts the entry alone in a tree.
func matchesPath(e *entry, path []byte) bool {
	alone := index{}
	alone.insert(&entry{methods: anyMethod, route: e.route, host: host{kind: hostAny}})
	found, _ := alone.find(&Request{Path: path}, &Params{})
	return found != nil
}

// refuse says which predicate a request fails, or nothing.
func (p *predicates) refuse(f Fields) string {
	if f == nil {
		f = noFields{}
	}
	for i := range p.headers {
		m := &p.headers[i]
		if value, ok := f.Header(m.name); !m.match(value, ok) {
			return m.refusal("header", ok)
		}
	}
	for i := range p.queries {
		m := &p.queries[i]
		if value, ok := f.Query(m.name); !m.match(value, ok) {
			return m.refusal("query", ok)
		}
	}
	for i := range p.cookies {
		m := &p.cookies[i]
		if value, ok := f.Cookie(m.name); !m.match(value, ok) {
			return m.refusal("cookie", ok)
		}
	}
	ip := f.ClientIP().Unmap()
	if len(p.inside) > 0 && !anyContains(p.inside, ip) {
		return fmt.Sprintf("client %s is in none of %v", ip, p.inside)
	}
	if anyContains(p.outside, ip) {
		return fmt.Sprintf("client %s is in one of %v", ip, p.outside)
	}
	return ""
}

// refusal does not repeat the value that was sent, which may be a secret.
func (m *matcher) refusal(part string, ok bool) string {
	got := "is absent"
	if ok {
		got = "is present"
	}
	not := ""
	if m.invert {
		not = "not "
	}
	want := fmt.Sprintf("be %q", m.value)
	switch m.kind {
	case Prefix:
		want = fmt.Sprintf("begin with %q", m.value)
	case Regex:
		want = fmt.Sprintf("match %q", m.value)
	case Present:
		want = "be present"
	}
	return fmt.Sprintf("%s %s %s, but must %s%s", part, m.name, got, not, want)
}
