package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

const referenceIntro = `# Configuration

<!-- Generated from internal/config by go generate; do not edit. -->

The configuration is one YAML document and the files it includes. Every key is
optional unless its default says *required*. Unknown keys, wrong types and
contradictions are errors: ` + "`velocity check --config FILE`" + ` prints all of them at
once with file, line and path. The JSON Schema in ` + "`configs/schema.json`" + ` gives
editors completion and checks.

## Values

| Form | Written as |
|---|---|
| duration | ` + "`250ms`, `30s`, `1m30s`, `2h`; only `0` has no unit" + ` |
| size | bytes, ` + "`16384`, or with a unit, `64KiB`, `8MiB`, `1GB`" + ` |
| template | text with variables such as ` + "`${client_ip}`; see [headers](#routesheaders)" + ` |
| secret | text that is never logged or shown |
| file name | relative to the directory of the file it stands in |

An empty section or list (` + "`routes:`" + `) is the same as an absent one. YAML anchors
and aliases work; merge keys (` + "`<<`" + `) and tags do not.

## Environment

` + "`${NAME}`" + ` and ` + "`${NAME:-default}`" + ` in a value are replaced from the environment.
The default also stands in for an empty variable. A variable that is not set and
has no default is an error. Names are upper-case letters, digits and
underscores; ` + "`${lower_case}`" + ` is left for templates. ` + "`$${NAME}`" + ` is a literal
` + "`${NAME}`" + `.

These variables override the document; an empty one counts as not set:

| Variable | Overrides |
|---|---|
| ` + "`VELOCITY_HOST`" + ` | ` + "`server.host`" + ` |
| ` + "`VELOCITY_PORT`" + ` | ` + "`server.port`" + ` |
| ` + "`VELOCITY_LOG_LEVEL`" + ` | ` + "`observability.log.level`" + ` |
| ` + "`VELOCITY_REDIS_URL`" + ` | ` + "`database.redis.url`" + ` |
| ` + "`VELOCITY_<PATH>`" + ` | any other setting outside lists of sections, with ` + "`__`" + ` between levels: ` + "`VELOCITY_SERVER__READ_TIMEOUT=10s`" + `. Items of a list are separated by commas. |

## Reserved keys

` + "`database.postgres`, `observability.tracing`, `routes[].cache`" + ` and
other keys of coming versions are refused with a message of their own: a policy
that would be read but not enforced is worse than an error. A reserved section
that says ` + "`enabled: false`" + ` is accepted.
`

// Reference returns the configuration reference in Markdown: every section with
// its meaning, an example and a table of its keys.
func Reference() ([]byte, error) {
	cs, err := readComments()
	if err != nil {
		return nil, fmt.Errorf("make reference: %w", err)
	}
	r := referenceMaker{plans: newPlans(), comments: cs, anchors: map[reflect.Type]string{}}
	r.out.WriteString(referenceIntro)
	r.section("Document", "", reflect.TypeFor[Config]())
	return r.out.Bytes(), nil
}

type referenceMaker struct {
	plans    plans
	comments comments
	anchors  map[reflect.Type]string
	out      bytes.Buffer
}

// section writes a section and then, depth first, those below it. A section
// that several keys share is written once, where it first appears.
func (r *referenceMaker) section(title, path string, t reflect.Type) {
	p := r.plans[t]
	level := min(2+strings.Count(path, "."), 4)
	fmt.Fprintf(&r.out, "\n%s %s\n", strings.Repeat("#", level), title)
	prose, examples := r.comments.section(t)
	if t == reflect.TypeFor[Config]() {
		prose = []string{"The top level of the main file."}
	}
	for _, paragraph := range prose {
		fmt.Fprintf(&r.out, "\n%s\n", paragraph)
	}
	for _, example := range examples {
		fmt.Fprintf(&r.out, "\n```yaml\n%s```\n", example)
	}
	below := r.belowOf(p, path)
	r.out.WriteString("\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n")
	for i := range p.fields {
		f := &p.fields[i]
		fmt.Fprintf(&r.out, "| `%s` | %s | %s | %s |\n", f.name, r.typeOf(f), defaultOf(f), cell(r.comments.field(t, f)))
	}
	for _, b := range below {
		r.section("`"+b.path+"`", b.path, b.typ)
	}
}

type subsection struct {
	path string
	typ  reflect.Type
}

// belowOf returns the sections that p leads to and that have no place yet, and
// gives each its anchor.
func (r *referenceMaker) belowOf(p *plan, path string) []subsection {
	var below []subsection
	for i := range p.fields {
		f := &p.fields[i]
		sub := structOf(f.typ)
		if sub == nil {
			continue
		}
		if _, placed := r.anchors[sub]; placed {
			continue
		}
		at := strings.TrimPrefix(path+"."+f.name, ".")
		if f.typ.Kind() == reflect.Slice {
			at += "[]"
		}
		r.anchors[sub] = strings.NewReplacer(".", "", "[", "", "]", "").Replace(at)
		below = append(below, subsection{at, sub})
	}
	return below
}

func (r *referenceMaker) typeOf(f *field) string {
	sub := structOf(f.typ)
	switch {
	case sub != nil && f.typ.Kind() == reflect.Slice:
		return "list of [sections](#" + r.anchors[sub] + ")"
	case sub != nil:
		return "[section](#" + r.anchors[sub] + ")"
	case f.enum != nil && f.typ.Kind() == reflect.Slice:
		return "list of `" + strings.Join(f.enum, "`, `") + "`"
	case f.enum != nil:
		return "`" + strings.Join(f.enum, "`, `") + "`"
	}
	text := typeName(f.typ)
	if f.min != "" && f.max != "" {
		text += ", " + f.min + " to " + f.max
	} else if f.min != "" && f.min != "0" {
		text += ", at least " + f.min
	}
	return text
}

func defaultOf(f *field) string {
	switch {
	case f.required:
		return "*required*"
	case f.def == "":
		return ""
	case f.typ.Kind() == reflect.Slice:
		return "`[" + strings.ReplaceAll(f.def, ",", ", ") + "]`"
	}
	return "`" + f.def + "`"
}

// cell escapes what would end a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
