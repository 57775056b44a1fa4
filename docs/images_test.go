package docs_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImages: every picture is well-formed, says in words what it shows, has colours for light and dark, loads nothing
// from elsewhere, and is shown by some page.
func TestImages(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "docs", "images", "*.svg"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	var shown strings.Builder
	for _, p := range pages(t) {
		shown.WriteString(p.prose())
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		if !strings.Contains(shown.String(), "images/"+base+")") {
			t.Errorf("%s: no page shows it", base)
		}
		if !strings.Contains(string(data), "@media (prefers-color-scheme: dark)") {
			t.Errorf("%s: there are no colours for dark", base)
		}
		for _, element := range []string{"title", "desc"} {
			if !checkSVG(t, base, string(data), element) {
				t.Errorf("%s: there is no %s", base, element)
			}
		}
	}
}

// checkSVG reads a picture to its end and reports whether it has an element with text.
func checkSVG(t *testing.T, name, text, element string) (found bool) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for inside := false; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inside = token.Name.Local == element
			for _, a := range token.Attr {
				if a.Name.Local != "xmlns" && strings.Contains(a.Value, "//") {
					t.Errorf("%s: %s refers to %s", name, token.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			found = found || inside && strings.TrimSpace(string(token)) != ""
		case xml.EndElement:
			inside = false
		}
	}
}
