package admin

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docs = "../docs/admin.md"

func readDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func fullOptions() Options {
	return Options{Loopback: true, Token: token, MetricsEnabled: true, Pprof: true}
}

func TestDocumentedPathsAreThePathsServed(t *testing.T) {
	text := readDocs(t)
	var headed, tabled, served []string
	for _, m := range regexp.MustCompile("(?m)^## `([A-Z]+ /[^`]*)`$").FindAllStringSubmatch(text, -1) {
		headed = append(headed, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(/[^`]*)` \\| ([A-Z]+) \\|").FindAllStringSubmatch(text, -1) {
		tabled = append(tabled, m[2]+" "+m[1])
	}
	h := &handler{runtime: newGateway(), options: fullOptions()}
	h.options.MetricsPath = defaultMetricsPath
	if err := h.route(); err != nil {
		t.Fatal(err)
	}
	for method, paths := range h.router.List() {
		for _, path := range paths {
			if method != http.MethodHead {
				served = append(served, method+" "+path)
			}
		}
	}
	slices.Sort(headed)
	slices.Sort(tabled)
	slices.Sort(served)
	if !slices.Equal(headed, served) {
		t.Errorf("sections of %s:\n%q\nserved:\n%q", docs, headed, served)
	}
	if !slices.Equal(tabled, served) {
		t.Errorf("table of %s:\n%q\nserved:\n%q", docs, tabled, served)
	}
}

func TestDocumentedCodesAreTheCodesUsed(t *testing.T) {
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	var used, documented []string
	for _, m := range regexp.MustCompile(`(?m)^\tcode\w+ += "(\w+)"$`).FindAllStringSubmatch(string(source), -1) {
		used = append(used, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [0-9]{3} \\|").FindAllStringSubmatch(readDocs(t), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(used)
	slices.Sort(documented)
	if len(used) == 0 || !slices.Equal(used, documented) {
		t.Errorf("documented:\n%q\nused:\n%q", documented, used)
	}
}

// Each command in the docs is sent, and the block below it must be the answer to
// the byte.
func TestDocumentedExamples(t *testing.T) {
	example := regexp.MustCompile("(?s)```sh\n(curl [^\n]*)\n```\n(?:\n```(?:json|yaml|text)\n(.*?)```\n)?")
	examples := example.FindAllStringSubmatch(readDocs(t), -1)
	if len(examples) < len((&handler{options: fullOptions()}).endpoints()) {
		t.Fatalf("%s has only %d examples", docs, len(examples))
	}
	a := start(t, newGateway(), fullOptions(), nil)
	for _, m := range examples {
		command, want := m[1], m[2]
		req := requestOf(t, command)
		if !strings.Contains(command, "Authorization") {
			req.Header.Set("Authorization", "Bearer "+token) // the docs' listener has none
		}
		got := a.do(t, req)
		if want == "" {
			if got.status == http.StatusNoContent && req.Method == http.MethodDelete {
				continue
			}
			if got.status != 200 || got.body == "" {
				t.Errorf("%s: %d %q", command, got.status, got.body)
			}
			continue
		}
		if got.body != want {
			t.Errorf("%s\nanswers\n%s\nnot\n%s", command, got.body, want)
		}
	}
}

// requestOf makes the request that a curl command of the docs would send.
func requestOf(t *testing.T, command string) *http.Request {
	t.Helper()
	method, target, query := http.MethodGet, "", url.Values{}
	header := http.Header{}
	var body io.Reader
	words := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(command, -1)[1:]
	for i := 0; i < len(words); i++ {
		operand := func() string {
			i++
			return strings.Trim(words[i], `'"`)
		}
		switch words[i] {
		case "-G":
		case "-X":
			method = operand()
		case "-o":
			operand()
		case "-H":
			name, value, _ := strings.Cut(operand(), ": ")
			header.Set(name, strings.ReplaceAll(value, "$TOKEN", token))
		case "-d":
			body = strings.NewReader(operand())
		case "--data-urlencode":
			name, value, _ := strings.Cut(operand(), "=")
			query.Add(name, value)
		default:
			target = words[i]
		}
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	req.Header = header
	return req
}
