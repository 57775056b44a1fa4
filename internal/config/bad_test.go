package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadDocuments loads testdata/*.bad.yaml. Each ends in the problems it must
// produce, as comments, exactly and in order; `# env:` comments are its
// environment.
func TestBadDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("bad documents: %d, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".bad.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var env, want []string
			for line := range strings.Lines(string(data)) {
				line = strings.TrimSuffix(line, "\n")
				if entry, ok := strings.CutPrefix(line, "# env: "); ok {
					env = append(env, entry)
				}
				if problem, ok := strings.CutPrefix(line, "# problem: "); ok {
					want = append(want, problem)
				}
			}
			c, err := Load(name, env)
			if c != nil {
				t.Fatal("loaded")
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is a %T", err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, strings.ReplaceAll(strings.TrimPrefix(p.String(), name+":"), "testdata/", ""))
			}
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
				t.Errorf("problems:\n%s\nwant:\n%s", g, w)
			}
		})
	}
}
