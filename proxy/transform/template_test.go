package transform

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// values answers each variable with its number and name.
type values struct{}

func (values) AppendVar(dst []byte, v Var, name string) []byte {
	dst = append(dst, '<', 'a'+byte(v))
	return append(append(dst, name...), '>')
}

func TestTemplate(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		p, err := ParseTemplate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		if got := string(p.AppendTo([]byte("-"), values{})); got != "-"+want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("", "")
	f("plain $ text } {", "plain $ text } {")
	f("${client_ip}", "<b>")
	f("a${request_id}b${host}c", "a<c>b<d>c")
	f("${method}${path}${query}${scheme}${route}", "<e><f><g><h><i>")
	f("${param.id}${header.X-Plan}${query.a b}${cookie.c}", "<jid><kX-Plan><la b><mc>")
	f("$${host}", "${host}")
	f("a$${b$${c${host}", "a${b${c<d>")
}

func TestTemplateErrors(t *testing.T) {
	for _, text := range []string{"${", "a${host", "${}", "${nope}", "${param.}", "${Host}", "${query.", "${ host}"} {
		if _, err := ParseTemplate(text); err == nil || !strings.HasPrefix(err.Error(), "parse template: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, v := range Variables() {
		if _, err := ParseTemplate(v); err != nil {
			t.Errorf("%s is listed, but: %v", v, err)
		}
	}
}

func TestTemplateStatic(t *testing.T) {
	f := func(text, want string, wantStatic bool, wantParams ...string) {
		t.Helper()
		p, err := ParseTemplate(text)
		got, static := p.Static()
		if err != nil || string(got) != want || static != wantStatic || !slices.Equal(p.Params(), wantParams) {
			t.Errorf("%q: got %q, %v, parameters %q, %v", text, got, static, p.Params(), err)
		}
	}
	f("", "", true)
	f("a$${b", "a${b", true)
	f("a${host}", "", false)
	f("${param.a}${param.b}${param.a}", "", false, "a", "b")
}

// recorder is a header list that writes down what is done to it.
type recorder []string

func (r *recorder) Set(name string, value []byte) { *r = append(*r, "set "+name+"="+string(value)) }
func (r *recorder) Add(name string, value []byte) { *r = append(*r, "add "+name+"="+string(value)) }
func (r *recorder) Remove(name string)            { *r = append(*r, "remove "+name) }

func TestProgram(t *testing.T) {
	p, err := Compile([]Op{
		{Add, "x-a", "${host}"}, {Set, "x-b", "fixed"}, {Remove, "x-c", ""}, {Set, "x-d", ""}, {Add, "X-E", "${param.id}-${method}"}, {Remove, "X-F", "ignored"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var r recorder
	arena := p.Apply(&r, values{}, []byte("kept"))
	want := []string{"remove X-C", "remove X-F", "set X-B=fixed", "set X-D=", "add X-A=<d>", "add X-E=<jid>-<e>"}
	if !slices.Equal(r, want) || !bytes.HasPrefix(arena, []byte("kept")) || !slices.Equal(p.Params(), []string{"id"}) {
		t.Errorf("got %q, parameters %q, arena %q", r, p.Params(), arena)
	}
	var none Program
	if !none.Empty() || p.Empty() {
		t.Error("Empty is wrong")
	}
}

func TestCompileErrors(t *testing.T) {
	f := func(name, value string) {
		t.Helper()
		if p, err := Compile([]Op{{Set, name, value}, {Set, "X-Good", "1"}}); err == nil || len(p.ops) != 1 {
			t.Errorf("%q: %q was compiled", name, value)
		}
	}
	for _, name := range []string{"", "a b", "a:b", "é", "a\r", "host", "Connection", "content-length", "transfer-encoding", "TE", "trailer", "upgrade", "keep-alive", "proxy-connection"} {
		f(name, "x")
	}
	for _, value := range []string{"a\rb", "a\nb", "a\x00b", "${nope}"} {
		f("X-A", value)
	}
}

// FuzzTemplate parses any text. What parses keeps its literal text, and what a
// template makes of static text is that text.
func FuzzTemplate(f *testing.F) {
	for _, seed := range append(Variables(), "", "$${", "a$${b}${host}", "${", "$$$${x}", "${query.$${a}", "}{$") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseTemplate(text)
		if err != nil {
			return
		}
		got := p.AppendTo(nil, values{})
		if !strings.Contains(text, "${") && string(got) != text {
			t.Fatalf("%q became %q", text, got)
		}
		if static, ok := p.Static(); ok && !bytes.Equal(static, got) {
			t.Fatalf("%q: static %q, made %q", text, static, got)
		}
		// Written out again, it is the same template.
		var again strings.Builder
		for _, part := range p.parts {
			if part.v == 0 {
				again.WriteString(strings.ReplaceAll(string(part.text), "${", "$${"))
				continue
			}
			again.WriteString("${" + variableName(part) + "}")
		}
		q, err := ParseTemplate(again.String())
		if err != nil || !bytes.Equal(q.AppendTo(nil, values{}), got) {
			t.Fatalf("%q, written as %q: %v", text, again.String(), err)
		}
	})
}

func variableName(p part) string {
	for _, v := range plain {
		if v.v == p.v {
			return v.name
		}
	}
	for _, v := range named {
		if v.v == p.v {
			return v.prefix + p.name
		}
	}
	return ""
}
