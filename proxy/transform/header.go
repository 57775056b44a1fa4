package transform

import (
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// Headers is a header list that a Program edits. Names are in canonical form
// (X-Plan); values are borrowed for as long as the message lives.
type Headers interface {
	// Set replaces all fields of that name by one.
	Set(name string, value []byte)
	// Add appends a field.
	Add(name string, value []byte)
	// Remove deletes all fields of that name.
	Remove(name string)
}

// Verb says what an Op does.
type Verb uint8

// The verbs, in the order in which a Program runs them.
const (
	Remove Verb = iota
	Set
	Add
)

// Op is one header edit. Value is a template; Remove has none.
type Op struct {
	Verb  Verb
	Name  string
	Value string
}

// Program is a list of header edits, compiled. The zero value does nothing.
type Program struct {
	ops []op
}

type op struct {
	verb   Verb
	name   string
	value  Template
	static []byte // the value, when it has no variables
}

// Compile checks and compiles edits: removals first, then sets, then adds,
// each kind in the order given. It returns every problem, joined. Framing and
// connection fields are refused: the gateway owns them.
func Compile(ops []Op) (Program, error) {
	var p Program
	var errs []error
	for _, o := range ops {
		name := textproto.CanonicalMIMEHeaderKey(o.Name)
		switch {
		case !validName(name):
			errs = append(errs, fmt.Errorf("compile header edit: invalid field name %q", o.Name))
			continue
		case slices.Contains(owned, name):
			errs = append(errs, fmt.Errorf("compile header edit: %s belongs to the gateway and cannot be edited", name))
			continue
		case strings.ContainsAny(o.Value, "\r\n\x00"):
			errs = append(errs, fmt.Errorf("compile header edit: value of %s has a control character", name))
			continue
		}
		t, err := ParseTemplate(o.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("compile header edit of %s: %w", name, err))
			continue
		}
		c := op{verb: o.Verb, name: name, value: t}
		c.static, _ = t.Static()
		p.ops = append(p.ops, c)
	}
	slices.SortStableFunc(p.ops, func(a, b op) int { return int(a.verb) - int(b.verb) })
	return p, errors.Join(errs...)
}

var owned = []string{"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// Empty reports whether the program does nothing.
func (p Program) Empty() bool { return len(p.ops) == 0 }

// Params returns the names of the path parameters that the program uses.
func (p Program) Params() []string {
	var out []string
	for _, o := range p.ops {
		out = append(out, o.value.Params()...)
	}
	return out
}

// Apply runs the program. Values that have variables are built at the end of
// arena, which is returned extended; h borrows from it.
func (p Program) Apply(h Headers, v Values, arena []byte) []byte {
	for i := range p.ops {
		o := &p.ops[i]
		value := o.static
		if value == nil && o.verb != Remove {
			start := len(arena)
			arena = o.value.AppendTo(arena, v)
			value = arena[start:len(arena):len(arena)]
		}
		switch o.verb {
		case Set:
			h.Set(o.name, value)
		case Add:
			h.Add(o.name, value)
		default:
			h.Remove(o.name)
		}
	}
	return arena
}
