package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
)

// schemaNode is the part of JSON Schema that the language needs. Its fields
// are in the order in which they are written.
type schemaNode struct {
	Schema               string                 `json:"$schema,omitempty"`
	ID                   string                 `json:"$id,omitempty"`
	Title                string                 `json:"title,omitempty"`
	Description          string                 `json:"description,omitempty"`
	Ref                  string                 `json:"$ref,omitempty"`
	Type                 any                    `json:"type,omitempty"`
	Pattern              string                 `json:"pattern,omitempty"`
	Minimum              json.Number            `json:"minimum,omitempty"`
	Maximum              json.Number            `json:"maximum,omitempty"`
	Enum                 []any                  `json:"enum,omitempty"`
	AnyOf                []*schemaNode          `json:"anyOf,omitempty"`
	Items                *schemaNode            `json:"items,omitempty"`
	MinItems             int                    `json:"minItems,omitempty"`
	Default              any                    `json:"default,omitempty"`
	Properties           map[string]*schemaNode `json:"properties,omitempty"`
	AdditionalProperties any                    `json:"additionalProperties,omitempty"`
	Required             []string               `json:"required,omitempty"`
	Defs                 map[string]*schemaNode `json:"$defs,omitempty"`
}

const (
	durationPattern  = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	memoryPattern    = `^([1-9][0-9]?%|100%|[0-9]+(B|KiB|MiB|GiB|kB|KB|MB|GB)?)$`
	sizePattern      = `^[0-9]+(B|KiB|MiB|GiB|kB|KB|MB|GB)?$`
	statusPattern    = `^[1-5][0-9]{2}(-[1-5][0-9]{2})?$`
	modePattern      = `^0[0-7]{0,3}$`
	referencePattern = `\$\{[A-Z_][A-Z0-9_]*(:-[^}]*)?\}`
)

// Schema returns the JSON Schema (draft 2020-12) of the document, for editors
// and for checks without the binary. What only Load can know, such as whether
// an upstream exists, is not in it.
func Schema() ([]byte, error) {
	cs, err := readComments()
	if err != nil {
		return nil, fmt.Errorf("make schema: %w", err)
	}
	g := schemaMaker{plans: newPlans(), comments: cs, defs: map[string]*schemaNode{}}
	root := g.section(reflect.TypeFor[Config]())
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.ID = "https://github.com/salgue441/velocity/configs/schema.json"
	root.Title = "Velocity configuration"
	root.Description = "The main document of the gateway."
	root.Defs = g.defs
	g.defs["reference"] = &schemaNode{
		Description: "A value from the environment: `${NAME}` or `${NAME:-default}`.",
		Type:        "string", Pattern: referencePattern,
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(root); err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return b.Bytes(), nil
}

type schemaMaker struct {
	plans    plans
	comments comments
	defs     map[string]*schemaNode
}

func (g schemaMaker) section(t reflect.Type) *schemaNode {
	prose, _ := g.comments.section(t)
	n := &schemaNode{
		Description: strings.Join(prose, " "), Type: "object",
		Properties: map[string]*schemaNode{}, AdditionalProperties: false,
	}
	p := g.plans[t]
	for i := range p.fields {
		f := &p.fields[i]
		n.Properties[f.name] = g.field(t, f)
		if f.required {
			n.Required = append(n.Required, f.name)
		}
	}
	if len(n.Required) == 0 && t != reflect.TypeFor[Config]() {
		n.Type = []string{"object", "null"}
	}
	return n
}

func (g schemaMaker) field(t reflect.Type, f *field) *schemaNode {
	n := g.value(f, f.typ)
	n.Description = g.comments.field(t, f)
	if f.def != "" {
		n.Default = schemaDefault(f)
	}
	return n
}

func (g schemaMaker) value(f *field, t reflect.Type) *schemaNode {
	if t == reflect.TypeFor[PluginConfig]() {
		n := &schemaNode{AnyOf: []*schemaNode{{Type: "null"}}}
		for i := range g.plans[t].fields {
			n.AnyOf = append(n.AnyOf, g.value(f, g.plans[t].fields[i].typ))
		}
		return n
	}
	if sub := structOf(t); sub != nil && t.Kind() != reflect.Slice {
		return &schemaNode{Ref: g.define(sub)}
	}
	switch {
	case t.Kind() == reflect.Slice:
		n := &schemaNode{Type: []string{"array", "null"}, Items: g.value(f, t.Elem())}
		if f.required {
			n.Type, n.MinItems = "array", 1
		}
		return n
	case t.Kind() == reflect.Map:
		return &schemaNode{Type: []string{"object", "null"}, AdditionalProperties: g.value(f, t.Elem())}
	case t.Kind() == reflect.Pointer:
		return g.value(f, t.Elem())
	}
	return g.scalar(f, t)
}

func (g schemaMaker) define(t reflect.Type) string {
	if _, done := g.defs[t.Name()]; !done {
		g.defs[t.Name()] = nil
		g.defs[t.Name()] = g.section(t)
	}
	return "#/$defs/" + t.Name()
}

func (g schemaMaker) scalar(f *field, t reflect.Type) *schemaNode {
	n := &schemaNode{}
	switch t {
	case reflect.TypeFor[Duration]():
		// 0 is the only number that needs no unit.
		n.Type, n.Pattern, n.Minimum, n.Maximum = []string{"string", "integer"}, durationPattern, "0", "0"
	case reflect.TypeFor[Size]():
		n.Type, n.Pattern, n.Minimum = []string{"string", "integer"}, sizePattern, json.Number(f.min)
	case reflect.TypeFor[MemoryLimit]():
		n.Type, n.Pattern, n.Minimum = []string{"string", "integer"}, memoryPattern, "0"
	case reflect.TypeFor[StatusRange]():
		n.Type, n.Pattern, n.Minimum, n.Maximum = []string{"string", "integer"}, statusPattern, "100", "599"
	case reflect.TypeFor[FileMode]():
		// YAML 1.1 reads 0660 as a number in octal, 1.2 in decimal.
		n.Type, n.Pattern, n.Minimum = []string{"string", "integer"}, modePattern, "0"
	case reflect.TypeFor[netip.Prefix]():
		n.Type = "string"
	default:
		switch t.Kind() {
		case reflect.Bool:
			n.Type = "boolean"
		case reflect.Int:
			n.Type, n.Minimum, n.Maximum = "integer", json.Number(f.min), json.Number(f.max)
		case reflect.Float64:
			n.Type, n.Minimum, n.Maximum = "number", json.Number(f.min), json.Number(f.max)
		default:
			n.Type = []string{"string", "number", "boolean"}
		}
	}
	if f.enum != nil {
		n.Type = nil
		for _, text := range f.enum {
			n.Enum = append(n.Enum, enumValue(t, text))
		}
	}
	if n.Pattern == "" && f.enum == nil && t.Kind() != reflect.Bool && t.Kind() != reflect.Int && t.Kind() != reflect.Float64 {
		return n
	}
	return &schemaNode{AnyOf: []*schemaNode{n, {Ref: "#/$defs/reference"}}}
}

func enumValue(t reflect.Type, text string) any {
	if t.Kind() == reflect.Int {
		return json.Number(text)
	}
	return text
}

// schemaDefault returns a default in the form the document has it.
func schemaDefault(f *field) any {
	if f.typ.Kind() == reflect.Slice {
		return strings.Split(f.def, ",")
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return f.def == "true"
	case reflect.Int, reflect.Float64:
		return json.Number(f.def)
	}
	if f.typ == reflect.TypeFor[Size]() {
		if n, err := strconv.Atoi(f.def); err == nil {
			return n
		}
	}
	return f.def
}
