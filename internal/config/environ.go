package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

const variablePrefix = "VELOCITY_"

// shortVariables are the settings with a name of their own. The long name of
// the same setting wins over the short one.
func shortVariables() map[string]string {
	return map[string]string{
		"VELOCITY_HOST":      "server.host",
		"VELOCITY_PORT":      "server.port",
		"VELOCITY_LOG_LEVEL": "observability.log.level",
	}
}

// overrideByEnvironment sets what VELOCITY_ variables ask for, over the
// document. koanf layers the variables; the document itself is decoded from
// its nodes, because a koanf map knows no lines.
func (l *loader) overrideByEnvironment(d *decoder) {
	known := map[string]setting{}
	l.plans.settings(reflect.TypeFor[Config](), "", nil, known)
	d.overrides = map[string]string{}

	var entries []string
	for name, value := range l.env.values {
		if strings.HasPrefix(name, variablePrefix) && value != "" {
			entries = append(entries, name+"="+value)
		}
	}
	slices.Sort(entries)
	layers := koanf.New(".")
	for _, pathOf := range []func(name, value string) string{l.shortPath, l.longPath(known)} {
		provider := env.Provider(".", env.Opt{
			EnvironFunc: func() []string { return entries },
			TransformFunc: func(name, value string) (string, any) {
				path := pathOf(name, value)
				if path != "" {
					d.overrides[path] = name
				}
				return path, value
			},
		})
		if err := layers.Load(provider, nil); err != nil {
			l.problems = append(l.problems, Problem{File: "environment", Message: err.Error()})
		}
	}
	for _, path := range layers.Keys() {
		known[path].set(d, path, layers.String(path), reflect.ValueOf(&l.config).Elem())
	}
}

// shortPath returns the path of a variable with a short name, or "".
func (l *loader) shortPath(name, value string) string {
	if purpose := reservedVariable(name); purpose != "" {
		l.problems = append(l.problems, Problem{File: name, Message: reservedMessage(purpose)})
		return ""
	}
	if name == "VELOCITY_PORT" && strings.HasPrefix(value, "tcp://") {
		l.problems = append(l.problems, Problem{File: name, Warning: true, Message: "ignored: this is the link that Kubernetes " +
			"makes for a service named velocity; set enableServiceLinks: false on the pod"})
		return ""
	}
	return shortVariables()[name]
}

// longPath returns the function from variables such as
// VELOCITY_SERVER__READ_TIMEOUT to their paths.
func (l *loader) longPath(known map[string]setting) func(name, value string) string {
	return func(name, _ string) string {
		rest := strings.TrimPrefix(name, variablePrefix)
		if !strings.Contains(rest, "__") {
			return ""
		}
		path := strings.ToLower(strings.ReplaceAll(rest, "__", "."))
		if _, ok := known[path]; ok {
			return path
		}
		names := slices.Sorted(maps.Keys(known))
		suggestion := nearest(path, names)
		if suggestion != "" {
			suggestion = variableOf(suggestion)
		}
		l.problems = append(l.problems, Problem{File: name, Message: "names no setting", Suggestion: suggestion})
		return ""
	}
}

func variableOf(path string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// setting is a scalar, or a list of scalars, that a variable can set.
type setting struct {
	field *field
	index []int
}

// settings collects the settings below a struct. Lists of sections are not
// among them: their entries have no names to go by.
func (ps plans) settings(t reflect.Type, prefix string, index []int, out map[string]setting) {
	p := ps[t]
	for i := range p.fields {
		f := &p.fields[i]
		at := append(slices.Clone(index), f.index)
		switch sub := structOf(f.typ); {
		case sub == nil:
			out[prefix+f.name] = setting{f, at}
		case f.typ.Kind() == reflect.Struct:
			ps.settings(sub, prefix+f.name+".", at, out)
		}
	}
}

// set decodes a variable's text; a list is separated by commas.
func (s setting) set(d *decoder, path, text string, config reflect.Value) {
	for key := range strings.SplitSeq(path, ".") {
		d.push(key)
		defer d.pop()
	}
	dst := config.FieldByIndex(s.index)
	if dst.Kind() != reflect.Slice {
		d.text(&yaml.Node{}, text, s.field, dst)
		return
	}
	parts := strings.Split(text, ",")
	list := reflect.MakeSlice(dst.Type(), len(parts), len(parts))
	for i, part := range parts {
		d.pushIndex(i)
		d.text(&yaml.Node{}, strings.TrimSpace(part), s.field, list.Index(i))
		d.pop()
	}
	dst.Set(list)
}
