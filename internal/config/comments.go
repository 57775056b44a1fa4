package config

import (
	"embed"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

// sources are the files that declare the language. Their doc comments are the
// text of the schema and of the reference, so they travel with the binary.
//
//go:embed config.go listener.go observability.go upstream.go balance.go health.go breaker.go discovery.go ratelimit.go database.go auth.go route.go retry.go
var sources embed.FS

// comments maps "Type" and "Type.Field" to their doc comments.
type comments map[string]string

func readComments() (comments, error) {
	entries, err := sources.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	cs := comments{}
	for _, entry := range entries {
		src, err := sources.ReadFile(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read source: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse source: %w", err)
		}
		for _, decl := range file.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.TYPE {
				cs.addType(gen)
			}
		}
	}
	return cs, nil
}

func (cs comments) addType(gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		t := spec.(*ast.TypeSpec)
		cs[t.Name.Name] = gen.Doc.Text()
		st, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range st.Fields.List {
			for _, name := range f.Names {
				cs[t.Name.Name+"."+name.Name] = f.Doc.Text()
			}
		}
	}
}

// field returns the comment of a field as one paragraph, without the start that
// Go's convention asks for: "Port is the TCP port" becomes "The TCP port".
func (cs comments) field(t reflect.Type, f *field) string {
	text := strings.Join(strings.Fields(cs[t.Name()+"."+f.goName]), " ")
	text = strings.TrimPrefix(text, f.goName+" ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "is "), "are ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// section returns the comment of a struct: its prose, one paragraph a string,
// and its examples.
func (cs comments) section(t reflect.Type) (prose, examples []string) {
	var p comment.Parser
	for _, block := range p.Parse(cs[t.Name()]).Content {
		switch block := block.(type) {
		case *comment.Code:
			examples = append(examples, block.Text)
		case *comment.Paragraph:
			var b strings.Builder
			for _, text := range block.Text {
				switch text := text.(type) {
				case comment.Plain:
					b.WriteString(string(text))
				case comment.Italic:
					b.WriteString(string(text))
				case *comment.Link:
					b.WriteString(text.URL)
				}
			}
			prose = append(prose, strings.Join(strings.Fields(b.String()), " "))
		}
	}
	return prose, examples
}
