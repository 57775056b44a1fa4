package telemetry

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
)

func render(r *Registry) string {
	var page bytes.Buffer
	r.WritePrometheus(&page)
	return page.String()
}

// section is the samples of the families whose names begin with a prefix, in the
// order of the page.
func section(page string, prefixes ...string) string {
	var out strings.Builder
	for line := range strings.Lines(page) {
		for _, prefix := range prefixes {
			if strings.HasPrefix(line, prefix) {
				out.WriteString(line)
				break
			}
		}
	}
	return out.String()
}

// parsed is a page in the text format.
type parsed struct {
	types   map[string]string
	count   map[string]int // samples by family
	samples map[string]float64
}

// parse reads a page and fails on whatever Prometheus would refuse or misread.
func parse(t *testing.T, page string) *parsed {
	t.Helper()
	p := &parsed{types: map[string]string{}, count: map[string]int{}, samples: map[string]float64{}}
	if !strings.HasSuffix(page, "\n") {
		t.Fatal("the page does not end in a line feed")
	}
	var family, kind, help string
	var below float64
	for text := range strings.Lines(page) {
		text = strings.TrimSuffix(text, "\n")
		if rest, ok := strings.CutPrefix(text, "# HELP "); ok {
			help, _, _ = strings.Cut(rest, " ")
			continue
		}
		if rest, ok := strings.CutPrefix(text, "# TYPE "); ok {
			family, kind, _ = strings.Cut(rest, " ")
			if p.types[family] != "" {
				t.Errorf("family %s has more than one TYPE", family)
			}
			if help != family {
				t.Errorf("family %s has no HELP before its TYPE", family)
			}
			p.types[family] = kind
			continue
		}
		series, value := text, ""
		if i := strings.LastIndexByte(text, ' '); i > 0 {
			series, value = text[:i], text[i+1:]
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("parse line %q: %v", text, err)
		}
		name, labels, _ := strings.Cut(series, "{")
		if labels != "" {
			checkLabels(t, text, "{"+labels)
		}
		if _, twice := p.samples[series]; twice {
			t.Errorf("series %s is there twice", series)
		}
		p.samples[series] = n
		if !strings.HasPrefix(name, "velocity_") {
			p.count[name]++
			continue
		}
		base := name
		if kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
		}
		if base != family {
			t.Errorf("sample %s stands below the TYPE of %s", series, family)
		}
		p.count[base]++
		if name == base+"_bucket" {
			if !strings.Contains(labels, `le="1e-05"`) && n < below {
				t.Errorf("%s is below the bucket before it", series)
			}
			below = n
		}
		if name == base+"_count" && kind == "histogram" && n != below {
			t.Errorf("%s = %v, but its +Inf bucket is %v", series, n, below)
		}
	}
	return p
}

// checkLabels reads {name="value",…} with its escapes.
func checkLabels(t *testing.T, text, labels string) {
	t.Helper()
	rest := strings.TrimPrefix(labels, "{")
	for {
		name, after, ok := strings.Cut(strings.TrimLeft(rest, " "), `="`)
		if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
			t.Fatalf("bad label name in %q", text)
		}
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
				if end == len(after) || !strings.ContainsRune(`\"n`, rune(after[end])) {
					t.Fatalf("bad escape in %q", text)
				}
			}
			end++
		}
		if end >= len(after) {
			t.Fatalf("unclosed label value in %q", text)
		}
		rest = after[end+1:]
		if rest == "}" {
			return
		}
		if !strings.HasPrefix(rest, ",") {
			t.Fatalf("bad separator in %q", text)
		}
		rest = rest[1:]
	}
}

// goVersion is the version label of the runtime's own family on the page.
func goVersion(p *parsed) string {
	for series := range p.samples {
		if rest, ok := strings.CutPrefix(series, `go_info{version="`); ok {
			return strings.TrimSuffix(rest, `"}`)
		}
	}
	return ""
}
