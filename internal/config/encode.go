package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redacted returns the effective configuration, defaults included, as maps,
// lists and scalars that any encoder writes in the document's form. Secrets,
// and headers whose names suggest that they hold one, read "[redacted]".
func (c *Config) Redacted() map[string]any {
	e := encoder{plans: newPlans()}
	return e.section(reflect.ValueOf(c).Elem())
}

// YAML returns one document that loads to the same configuration, save for what
// Redacted hides. It leaves out what has its default, and `include`, since it
// holds what was included.
func (c *Config) YAML() ([]byte, error) {
	e := encoder{plans: newPlans(), document: true}
	document := e.section(reflect.ValueOf(c).Elem())
	delete(document, "include")
	data, err := yaml.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return data, nil
}

type encoder struct {
	plans plans
	// document makes output that loads again: without defaults, and with `${`
	// escaped.
	document bool
}

func (e encoder) section(v reflect.Value) map[string]any {
	p := e.plans[v.Type()]
	out := make(map[string]any, len(p.fields))
	for i := range p.fields {
		f := &p.fields[i]
		fv := v.Field(f.index)
		if e.omits(f, fv, p.zero.Field(f.index)) {
			continue
		}
		if sub, ok := e.value(fv).(map[string]any); !ok || len(sub) > 0 || f.typ.Kind() == reflect.Pointer {
			out[f.name] = e.value(fv)
		}
	}
	return out
}

// pluginConfig writes the settings of one plugin, without the key that tells whose
// they are.
func (e encoder) pluginConfig(c PluginConfig) map[string]any {
	switch {
	case c.CORS != nil:
		return e.section(reflect.ValueOf(c.CORS).Elem())
	case c.RateLimit != nil:
		return e.section(reflect.ValueOf(c.RateLimit).Elem())
	}
	return nil
}

// omits reports whether a field says nothing: it is absent, or for a document
// it has its default.
func (e encoder) omits(f *field, v, def reflect.Value) bool {
	if e.document && !f.required && reflect.DeepEqual(v.Interface(), def.Interface()) {
		return true
	}
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil()
	case reflect.Slice, reflect.Map:
		return v.Len() == 0 && (!e.document || def.Len() == 0)
	case reflect.String:
		return v.Len() == 0 && def.Len() == 0
	}
	return false
}

func (e encoder) value(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		s, err := text.MarshalText()
		if err != nil {
			panic("BUG: encode " + v.Type().String() + ": " + err.Error())
		}
		return string(s)
	}
	switch v.Kind() {
	case reflect.Struct:
		if c, ok := v.Interface().(PluginConfig); ok {
			return e.pluginConfig(c)
		}
		return e.section(v)
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = e.value(v.Index(i))
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for entries := v.MapRange(); entries.Next(); {
			name := entries.Key().String()
			if isSensitive(name) {
				out[name] = redacted
			} else {
				out[name] = e.value(entries.Value())
			}
		}
		return out
	case reflect.String:
		if e.document && v.Type() != reflect.TypeFor[Template]() {
			return strings.ReplaceAll(v.String(), "${", "$${")
		}
		return v.String()
	}
	return v.Interface()
}

// isSensitive reports whether a header's name suggests a credential.
func isSensitive(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
