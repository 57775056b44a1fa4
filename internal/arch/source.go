package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
)

// Source is what CheckSource needs to know about a package: its import path below the module root, its name, and its files
// without the tests.
type Source struct {
	Path  string
	Name  string
	Files map[string]string
}

// CheckSource returns the violations of the rules that can be read from one package alone: exactly one package comment,
// a name that says what the package provides, no init function, no decision taken by the text of an error.
func CheckSource(src Source) ([]string, error) {
	var violations []string
	report := func(format string, args ...any) {
		violations = append(violations, fmt.Sprintf("%s: ", src.Path)+fmt.Sprintf(format, args...))
	}

	for _, word := range append(strings.Split(src.Path, "/"), src.Name) {
		if vague(word) {
			report("the name %q says nothing: name the package for what it provides", word)
		}
	}

	var comments []string
	for _, name := range sortedKeys(src.Files) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, src.Files[name], parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse package %s: %w", src.Path, err)
		}
		// A directive is no comment: Text leaves it out.
		if text := file.Doc.Text(); text != "" {
			comments = append(comments, name)
			if want := "Package " + src.Name + " "; src.Name != "main" && !strings.HasPrefix(text, want) {
				report("%s: the package comment starts with %q", name, want)
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.FuncDecl:
				if node.Recv == nil && node.Name.Name == "init" {
					report("%s: init runs by import and in an order nobody sees: call a constructor", set.Position(node.Pos()))
				}
			case *ast.CallExpr:
				if selects(node.Fun, "strings") && slices.ContainsFunc(node.Args, isErrorText) {
					report("%s: the text of an error is for people: use errors.Is or errors.As", set.Position(node.Pos()))
				}
			}
			return true
		})
	}
	if len(comments) != 1 {
		report("%d package comments %v, want exactly one that says what the package owns and what it does not", len(comments), comments)
	}
	return violations, nil
}

// vague reports whether a name is one of those that any code fits under.
func vague(name string) bool {
	switch path.Base(name) {
	case "util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "base", "impl", "shared":
		return true
	}
	return false
}

func selects(expr ast.Expr, pkg string) bool {
	selector, ok := expr.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	ident, ok := selector.X.(*ast.Ident)
	return ok && ident.Name == pkg
}

// isErrorText reports whether an expression is a call of the form x.Error().
func isErrorText(expr ast.Expr) bool {
	call, ok := expr.(*ast.CallExpr)
	if !ok || len(call.Args) != 0 {
		return false
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == "Error"
}

func sortedKeys(files map[string]string) []string {
	keys := make([]string, 0, len(files))
	for name := range files {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	return keys
}
