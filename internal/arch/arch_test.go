package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Sizes are a sign and not a rule: past them, look for the concept that wants a place of its own.
const (
	largeFile    = 600
	largePackage = 3000
)

// listed is what go list says about a package.
type listed struct {
	Dir        string
	ImportPath string
	Name       string
	GoFiles    []string
	Imports    []string
	Standard   bool
	Module     *struct{ Main bool }
}

func (l *listed) ours() bool { return l.Module != nil && l.Module.Main }

// list returns the module's path and every package that the module consists of or depends on.
func list(t *testing.T) (module string, packages []listed) {
	t.Helper()
	root := strings.TrimSpace(string(run(t, ".", "go", "list", "-m", "-f", "{{.Dir}}")))
	module = strings.TrimSpace(string(run(t, root, "go", "list", "-m")))
	decoder := json.NewDecoder(bytes.NewReader(run(t, root, "go", "list", "-deps", "-json=Dir,ImportPath,Name,GoFiles,Imports,Standard,Module", "./...")))
	for {
		var pkg listed
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return module, packages
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		packages = append(packages, pkg)
	}
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %s %v: %v", name, args, err)
	}
	return out
}

func TestImports(t *testing.T) {
	module, packages := list(t)
	local := func(importPath string) string {
		if importPath == module || strings.HasPrefix(importPath, module+"/") {
			return "." + strings.TrimPrefix(importPath, module)
		}
		return importPath
	}
	g := Graph{}
	for _, pkg := range packages {
		imports := make([]string, len(pkg.Imports))
		for i, imported := range pkg.Imports {
			imports[i] = local(imported)
		}
		g[local(pkg.ImportPath)] = imports
	}
	if _, ok := g["./internal/arch"]; !ok {
		t.Fatalf("go list does not list this package: %d packages", len(g))
	}
	for _, violation := range Check(g, Rules()) {
		t.Error(violation)
	}
}

func TestSources(t *testing.T) {
	module, packages := list(t)
	for _, pkg := range packages {
		if !pkg.ours() || len(pkg.GoFiles) == 0 {
			continue
		}
		src := Source{Path: strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/"), Name: pkg.Name, Files: map[string]string{}}
		total := 0
		for _, name := range pkg.GoFiles {
			text, err := os.ReadFile(filepath.Join(pkg.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			src.Files[name] = string(text)
			lines := bytes.Count(text, []byte{'\n'})
			total += lines
			if lines > largeFile {
				t.Logf("warning: %s/%s has %d lines: is there a concept that wants its own file?", src.Path, name, lines)
			}
		}
		if total > largePackage {
			t.Logf("warning: %s has %d lines: is there a concept that wants its own package?", src.Path, total)
		}
		violations, err := CheckSource(src)
		if err != nil {
			t.Fatal(err)
		}
		for _, violation := range violations {
			t.Error(violation)
		}
	}
}
