package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxAliased bounds the values that one load reaches through aliases, so that a
// small document of aliases of aliases cannot stand for billions of values.
const maxAliased = 200_000

// checker is implemented by the structs of lists. check reports what is wrong
// with the struct beyond the types and limits of its fields.
type checker interface {
	check(s scope)
}

// decoder turns the nodes of one file into structs and reports everything that
// is wrong on the way.
type decoder struct {
	file     string
	plans    plans
	env      environment
	problems *Problems
	aliased  *int
	inAlias  int
	// readFile reads a file that the document names, relative to the document,
	// and returns its path with its content.
	readFile func(name string) (path string, data []byte, err error)
	// overrides are the environment variables that set a path.
	overrides map[string]string
	path      []step
}

// step is one key or index of a path.
type step struct {
	key   string
	index int
}

func (d *decoder) push(key string)  { d.path = append(d.path, step{key: key}) }
func (d *decoder) pushIndex(i int)  { d.path = append(d.path, step{index: i}) }
func (d *decoder) pop()             { d.path = d.path[:len(d.path)-1] }
func (d *decoder) pathText() string { return pathText(d.path) }

func pathText(path []step) string {
	var b strings.Builder
	for _, s := range path {
		switch {
		case s.key == "":
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case b.Len() == 0:
			b.WriteString(s.key)
		default:
			b.WriteString("." + s.key)
		}
	}
	return b.String()
}

// report adds a problem with the current path at the place of n.
func (d *decoder) report(n *yaml.Node, message, suggestion string) {
	p := Problem{File: d.file, Line: n.Line, Column: n.Column, Path: d.pathText(), Message: message, Suggestion: suggestion}
	d.add(p)
}

// add adds a problem, at the environment variable that set the value if one
// did.
func (d *decoder) add(p Problem) {
	value, _, _ := strings.Cut(p.Path, "[")
	if name, ok := d.overrides[value]; ok {
		p.File, p.Line, p.Column = name, 0, 0
	}
	*d.problems = append(*d.problems, p)
}

// section decodes a mapping into dst, whose type is a struct.
func (d *decoder) section(n *yaml.Node, dst reflect.Value) {
	p := d.plans[dst.Type()]
	dst.Set(p.zero)
	if isNull(n) {
		n = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	}
	if n.Kind != yaml.MappingNode {
		d.report(n, "expected a section with keys, got "+describe(n), "")
		return
	}
	if p.typ == reflect.TypeFor[Plugin]() && !d.knownPlugin(n, p, dst) {
		return
	}
	var places []keyPlace
	if p.origin >= 0 {
		places = make([]keyPlace, 0, len(n.Content)/2)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := d.key(n, i, p)
		if f == nil {
			continue
		}
		places = append(places, keyPlace{f.name, value.Line, value.Column})
		d.push(f.name)
		if d.firstOf(n, i) {
			at := dst.Field(f.index)
			if f.typ == reflect.TypeFor[PluginConfig]() {
				if f, at = d.pluginConfig(n, at); f == nil {
					d.pop()
					continue // the name is wrong, which was said
				}
			}
			d.value(value, f, f.typ, at)
		} else {
			d.report(key, "key is given twice", "")
		}
		d.pop()
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.required && lookup(n, f.name) == nil {
			d.push(f.name)
			d.report(n, "is required", "")
			d.pop()
		}
	}
	if p.origin >= 0 {
		dst.Field(p.origin).Set(reflect.ValueOf(Origin{
			File: d.file, Line: n.Line, Column: n.Column, Path: d.pathText(), keys: places,
		}))
	}
	if p.checked {
		dst.Addr().Interface().(checker).check(scope{d, n})
	}
}

// key returns the field that the i-th node of the mapping names, or nil after
// reporting that there is none.
func (d *decoder) key(n *yaml.Node, i int, p *plan) *field {
	key := n.Content[i]
	if f, ok := p.byName[key.Value]; ok && key.Kind == yaml.ScalarNode {
		return f
	}
	if key.Kind != yaml.ScalarNode {
		d.report(key, "expected a key, got "+describe(key), "")
		return nil
	}
	if key.Value == "" {
		d.report(key, "key is empty", "")
		return nil
	}
	d.push(key.Value)
	defer d.pop()
	switch purpose := reserved(d.path); {
	case purpose != "" && isSwitchedOff(n.Content[i+1]):
	case purpose != "":
		d.report(key, reservedMessage(purpose), "")
	case key.Value == "<<":
		d.report(key, "merge keys are not supported; repeat the keys", "")
	case p.typ == reflect.TypeFor[fragment]() && d.plans[reflect.TypeFor[Config]()].byName[key.Value] != nil:
		d.report(key, "belongs in the main file; an included file may have include, upstreams and routes", "")
	default:
		names := make([]string, 0, len(p.fields))
		for _, f := range p.fields {
			names = append(names, f.name)
		}
		d.report(key, "unknown key", nearest(key.Value, names))
	}
	return nil
}

// firstOf reports whether the key at i is the first of its name in the
// mapping.
func (d *decoder) firstOf(n *yaml.Node, i int) bool {
	for j := 0; j < i; j += 2 {
		if n.Content[j].Value == n.Content[i].Value {
			return false
		}
	}
	return true
}

// value decodes a node into dst, which has type t; f is the field that holds
// it, directly or as an element.
func (d *decoder) value(n *yaml.Node, f *field, t reflect.Type, dst reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
		d.inAlias++
		defer func() { d.inAlias-- }()
	}
	if d.inAlias > 0 {
		if *d.aliased++; *d.aliased > maxAliased {
			if *d.aliased == maxAliased+1 {
				d.report(n, "aliases stand for too many values", "")
			}
			return
		}
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.report(n, "tags such as "+n.Tag+" are not supported", "")
		return
	}
	switch {
	case t.Kind() == reflect.Pointer && isNull(n):
		// An empty section is an absent one.
	case t.Kind() == reflect.Pointer:
		dst.Set(reflect.New(t.Elem()))
		d.value(n, f, t.Elem(), dst.Elem())
	case t.Kind() == reflect.Struct && !isScalarStruct(t):
		d.section(n, dst)
	case t.Kind() == reflect.Slice:
		d.list(n, f, t, dst)
	case t.Kind() == reflect.Map:
		d.mapping(n, f, t, dst)
	default:
		d.scalar(n, f, dst)
	}
}

func (d *decoder) list(n *yaml.Node, f *field, t reflect.Type, dst reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		message := "expected a list, got " + describe(n)
		if n.Kind == yaml.ScalarNode {
			message += "; write [" + n.Value + "]"
		}
		d.report(n, message, "")
		return
	}
	out := reflect.MakeSlice(t, len(n.Content), len(n.Content))
	for i, element := range n.Content {
		d.pushIndex(i)
		d.value(element, f, t.Elem(), out.Index(i))
		d.pop()
	}
	dst.Set(out)
}

func (d *decoder) mapping(n *yaml.Node, f *field, t reflect.Type, dst reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.report(n, "expected names with values, got "+describe(n), "")
		return
	}
	out := reflect.MakeMapWithSize(t, len(n.Content)/2)
	element := reflect.New(t.Elem()).Elem()
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			d.report(key, "expected a name, got "+describe(key), "")
			continue
		}
		d.push(key.Value)
		if name := reflect.ValueOf(key.Value); out.MapIndex(name).IsValid() {
			d.report(key, "key is given twice", "")
		} else {
			element.SetZero()
			d.value(n.Content[i+1], f, t.Elem(), element)
			out.SetMapIndex(name, element)
		}
		d.pop()
	}
	dst.Set(out)
}

func (d *decoder) scalar(n *yaml.Node, f *field, dst reflect.Value) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.report(n, "expected "+withArticle(typeName(dst.Type()))+", got "+describe(n), "")
		return
	}
	text := n.Value
	if strings.Contains(text, "${") {
		var err error
		if text, err = d.env.expand(text, dst.Type() == reflect.TypeFor[Template]()); err != nil {
			d.report(n, err.Error(), "")
			return
		}
	} else if isQuoted(n) && needsPlain(dst.Kind()) {
		d.report(n, fmt.Sprintf("expected %s, got the string %q; remove the quotes", withArticle(typeName(dst.Type())), text), "")
		return
	}
	d.text(n, text, f, dst)
}

// text sets dst to what text stands for, within the limits of f.
func (d *decoder) text(n *yaml.Node, text string, f *field, dst reflect.Value) {
	err := parseScalar(text, dst)
	if err == nil {
		err = checkRange(f, dst)
	}
	if err != nil {
		d.report(n, err.Error(), "")
		return
	}
	if f.enum != nil && !slices.Contains(f.enum, text) {
		d.report(n, fmt.Sprintf("%q is not one of %s", text, strings.Join(f.enum, ", ")), nearest(text, f.enum))
	}
	if f.required && text == "" {
		d.report(n, "must not be empty", "")
	}
}

// knownPlugin decodes the plugin's name, and reports whether the rest of it
// can be understood.
func (d *decoder) knownPlugin(n *yaml.Node, p *plan, dst reflect.Value) bool {
	f := p.byName["name"]
	name := lookup(n, "name")
	if name == nil || name.Kind != yaml.ScalarNode || slices.Contains(f.enum, name.Value) || strings.Contains(name.Value, "${") {
		return true
	}
	d.push("name")
	defer d.pop()
	if purpose := reservedPlugin(name.Value); purpose != "" {
		d.report(name, strconv.Quote(name.Value)+" "+reservedMessage(purpose), "")
	} else {
		d.value(name, f, f.typ, dst.Field(f.index))
	}
	return false
}

// pluginConfig is where the settings of a plugin belong, by its name.
func (d *decoder) pluginConfig(n *yaml.Node, config reflect.Value) (*field, reflect.Value) {
	name := lookup(n, "name")
	if name == nil {
		return nil, config
	}
	f := d.plans[config.Type()].byName[name.Value]
	if f == nil {
		return nil, config
	}
	return f, config.Field(f.index)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isQuoted(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// needsPlain reports whether a quoted scalar is surely a mistake: a number or
// a truth value in quotes. Durations and sizes may be quoted.
func needsPlain(k reflect.Kind) bool {
	return k == reflect.Int || k == reflect.Bool || k == reflect.Float64
}

// describe says in words what a node is.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case isNull(n):
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

func withArticle(noun string) string {
	switch {
	case strings.HasPrefix(noun, "true"):
		return noun
	case strings.HasPrefix(noun, "a"):
		return "an " + noun
	}
	return "a " + noun
}

// lookup returns the value of a key of a mapping, or nil.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Kind == yaml.MappingNode {
			return n.Content[i+1]
		}
	}
	return nil
}
