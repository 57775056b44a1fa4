// Package docs_test holds the documentation to the program: YAML loads, tables of routes and errors are true, commands
// exist, sessions print what they show, links lead somewhere. It owns no text.
//
// How a block is read, by the words after its fence:
//
//	yaml              a whole configuration, which loads without a problem or a warning
//	yaml NAME.yaml    the same, and the sessions below it find it as a file of that name
//	yaml fails        does not load; the text block after it is what velocity check prints
//	yaml warns        loads; the text block after it is the warnings
//	yaml kubernetes   manifests; a ConfigMap's gateway.yaml is a whole configuration
//	yaml prometheus   YAML of another program
//	console           a session: "$ command" and what it prints, run by sessions_test.go
//	console eventually   the same, repeated until it prints that
//	sh                commands for the reader, not run
package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = ".."

// env is what the documents may ask for.
var env = []string{"ADMIN_TOKEN=a-token-of-sufficient-length"}

// page is one Markdown file.
type page struct {
	name   string // from the root
	text   string
	blocks []block
}

// block is one fenced block.
type block struct {
	info []string // the words after the fence
	text string
	line int // of the fence, from 1
	at   int // offset of the end in the page
}

func (b *block) is(words ...string) bool {
	return len(b.info) >= len(words) && strings.Join(b.info[:len(words)], " ") == strings.Join(words, " ")
}

func pages(t *testing.T) []page {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(name string, _ os.DirEntry, err error) error {
		if filepath.Ext(name) == ".md" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []page
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		p := page{name: filepath.ToSlash(rel), text: string(text)}
		if p.blocks, err = split(p.text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, p)
	}
	if len(out) < 10 {
		t.Fatalf("only %d pages", len(out))
	}
	return out
}

func pageNamed(t *testing.T, name string) page {
	t.Helper()
	for _, p := range pages(t) {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("there is no %s", name)
	return page{}
}

// split finds the fenced blocks of a page.
func split(text string) ([]block, error) {
	var out []block
	var open *block
	offset := 0
	for i, line := range strings.SplitAfter(text, "\n") {
		offset += len(line)
		fence, isFence := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "```")
		switch {
		case isFence && open == nil:
			open = &block{info: strings.Fields(fence), line: i + 1}
		case isFence:
			open.at = offset
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		return nil, &unclosed{open.line}
	}
	return out, nil
}

type unclosed struct{ line int }

func (e *unclosed) Error() string { return "block is not closed" }

// prose is the page without its blocks.
func (p *page) prose() string {
	var out strings.Builder
	inside := false
	for line := range strings.SplitAfterSeq(p.text, "\n") {
		if strings.HasPrefix(line, "```") {
			inside = !inside
			continue
		}
		if !inside {
			out.WriteString(line)
		}
	}
	return out.String()
}
