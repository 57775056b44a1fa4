package telemetry

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md instead of checking it")

const docsDir = "../../docs/"

// TestMetricList compares docs/metrics.md with the families that the registry
// writes; TestPageIsValid compares those with the page.
func TestMetricList(t *testing.T) {
	want := metricList()
	if *update {
		if err := os.WriteFile(docsDir+"metrics.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsDir + "metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/metrics.md is not what the registry writes; run `go test ./internal/telemetry -run MetricList -update`")
	}
}

func metricList() []byte {
	out := []byte(`# Metrics

Generated from the registry; do not edit. [observability.md](observability.md) explains how to read these metrics and has
queries. The metrics of the Go runtime (` + "`go_*`" + `) and of the process (` + "`process_*`" + `) stand on the same page.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
`)
	for i := range families {
		f := &families[i]
		labels := ""
		if f.labels != "" {
			labels = "`" + strings.ReplaceAll(f.labels, ", ", "`, `") + "`"
		}
		out = fmt.Appendf(out, "| `%s` | %s | %s | %s |\n", f.name, f.kind, labels, f.help)
	}
	out = fmt.Appendf(out, "\nAll histograms have the same %d bounds, in seconds: ", boundCount)
	out = append(out, strings.Join(boundLabels[:], ", ")...)
	return append(out, ".\n"...)
}

// TestLabelsAreListed compares the labels that the page has with the list's.
func TestLabelsAreListed(t *testing.T) {
	seen := map[string]string{}
	name := regexp.MustCompile(`(\w+)="`)
	for series := range parse(t, render(populated())).samples {
		metric, labels, _ := strings.Cut(series, "{")
		var names []string
		for _, match := range name.FindAllStringSubmatch(labels, -1) {
			if match[1] != "le" {
				names = append(names, match[1])
			}
		}
		seen[metric] = strings.Join(names, ", ")
	}
	for i := range families {
		f := &families[i]
		metric := f.name
		if f.kind == "histogram" {
			metric += "_count"
		}
		if labels := seen[metric]; labels != f.labels {
			t.Errorf("%s has the labels %q, the list says %q", f.name, labels, f.labels)
		}
	}
}

// TestAccessLogFieldsAreListed compares the table in docs/observability.md with
// a line that has every field.
func TestAccessLogFieldsAreListed(t *testing.T) {
	e := fullEvent()
	e.Path = bytes.Repeat([]byte("a"), maxPath+1)
	text := encode(AccessLogOptions{Query: true, RequestHeaders: []string{"X-Tenant"}, ResponseHeaders: []string{"Content-Type"}}, e)
	got := topLevelKeys(t, text)

	page, err := os.ReadFile(docsDir + "observability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "## Access log\n")
	if !ok {
		t.Fatal("docs/observability.md has no section on the access log")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(section, -1) {
		want = append(want, row[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("a line has the fields\n%v\nthe table lists\n%v", got, want)
	}
}

// topLevelKeys returns the member names of an object, in order.
func topLevelKeys(t *testing.T, text string) (keys []string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	if _, err := dec.Token(); err != nil {
		t.Fatalf("parse line: %v", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatalf("parse line: %v", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatalf("parse line: %v", err)
		}
		keys = append(keys, key.(string))
	}
	return keys
}
