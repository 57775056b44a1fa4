package config

import (
	"net/netip"
	"reflect"
	"strings"
)

// plan is what the decoder, the schema and the reference know of one struct of
// the language: its fields by name and its default value.
type plan struct {
	typ    reflect.Type
	fields []field
	byName map[string]*field
	// zero is a value of the struct with all defaults filled in.
	zero reflect.Value
	// origin is the index of the struct's Origin field, or -1.
	origin int
	// checked is set when a pointer to the struct is a checker.
	checked bool
}

// field is one key of a struct.
type field struct {
	name     string
	goName   string
	index    int
	typ      reflect.Type
	def      string
	min, max string
	enum     []string
	required bool
	// lowest and highest are min and max as values, and invalid without them.
	lowest, highest reflect.Value
}

// plans holds the plan of every struct that a Config can contain. It is built
// for each load, which costs microseconds, so that the package has no state.
type plans map[reflect.Type]*plan

func newPlans() plans {
	ps := plans{}
	ps.add(reflect.TypeFor[Config]())
	ps.add(reflect.TypeFor[fragment]())
	return ps
}

func (ps plans) add(t reflect.Type) *plan {
	if p, ok := ps[t]; ok {
		return p
	}
	_, checked := reflect.New(t).Interface().(checker)
	p := &plan{typ: t, byName: map[string]*field{}, zero: reflect.New(t).Elem(), origin: -1, checked: checked}
	ps[t] = p
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Type == reflect.TypeFor[Origin]() {
			p.origin = i
		}
		name := sf.Tag.Get("yaml")
		if name == "" || name == "-" {
			continue
		}
		f := field{
			name: name, goName: sf.Name, index: i, typ: sf.Type,
			def: sf.Tag.Get("default"), min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			required: sf.Tag.Get("required") == "true",
		}
		f.lowest, f.highest = f.limit(f.min), f.limit(f.max)
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, ",")
		}
		p.fields = append(p.fields, f)
	}
	for i := range p.fields {
		f := &p.fields[i]
		p.byName[f.name] = f
		ps.fillDefault(f, p.zero.Field(f.index))
	}
	return p
}

// fillDefault sets dst to the default of f, and makes the plans of the structs
// that f leads to.
func (ps plans) fillDefault(f *field, dst reflect.Value) {
	if sub := structOf(f.typ); sub != nil {
		p := ps.add(sub)
		if f.typ.Kind() == reflect.Struct {
			dst.Set(p.zero)
		}
		return
	}
	if f.def == "" {
		return
	}
	if f.typ.Kind() != reflect.Slice {
		mustParse(f, f.def, dst)
		return
	}
	for text := range strings.SplitSeq(f.def, ",") {
		element := reflect.New(f.typ.Elem()).Elem()
		mustParse(f, text, element)
		dst.Set(reflect.Append(dst, element))
	}
}

func (f *field) limit(text string) reflect.Value {
	if text == "" {
		return reflect.Value{}
	}
	v := reflect.New(f.typ).Elem()
	mustParse(f, text, v)
	return v
}

func mustParse(f *field, text string, dst reflect.Value) {
	if err := parseScalar(text, dst); err != nil {
		panic("BUG: default or limit of " + f.goName + ": " + err.Error())
	}
}

// structOf returns the struct of the language that a field of type t leads to:
// itself, behind a pointer, or as a list's element. It returns nil for all
// others.
func structOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || isScalarStruct(t) {
		return nil
	}
	return t
}

// isScalarStruct reports whether t is written as one scalar although Go
// represents it by a struct.
func isScalarStruct(t reflect.Type) bool {
	return t == reflect.TypeFor[netip.Prefix]() || t == reflect.TypeFor[StatusRange]()
}
