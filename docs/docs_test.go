package docs_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/gateway"
	"github.com/salgue441/velocity/proxy"
	"github.com/salgue441/velocity/proxy/router"
)

// checkYAML is velocity check over a document: the warnings, or the problems.
func checkYAML(t *testing.T, text string) (warnings, problems config.Problems) {
	t.Helper()
	dir := t.TempDir()
	// Files that documents name by an absolute path cannot be there.
	for name, file := range secrets(t, dir) {
		text = strings.ReplaceAll(text, name, file)
	}
	path := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := gateway.Check(path, env)
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	if c != nil {
		warnings = c.Warnings
	}
	for _, list := range []config.Problems{warnings, problems} {
		for i := range list {
			list[i].File = filepath.Base(list[i].File)
		}
	}
	return warnings, problems
}

func lines(problems config.Problems) string {
	var out strings.Builder
	for _, p := range problems {
		out.WriteString(p.String() + "\n")
	}
	return out.String()
}

func TestYAML(t *testing.T) {
	loaded := 0
	for _, p := range pages(t) {
		for i, b := range p.blocks {
			if !b.is("yaml") {
				continue
			}
			loaded++
			at := p.name + ":" + strconv.Itoa(b.line)
			switch {
			case b.is("yaml", "fails"), b.is("yaml", "warns"):
				warnings, problems := checkYAML(t, b.text)
				got := lines(append(problems, warnings...))
				if b.is("yaml", "warns") == (len(problems) > 0) {
					t.Errorf("%s: %v, got problems\n%s", at, b.info, lines(problems))
				}
				if i+1 == len(p.blocks) || !p.blocks[i+1].is("text") || p.blocks[i+1].text != got {
					t.Errorf("%s: the text block below is not what is printed:\n%s", at, got)
				}
			case b.is("yaml", "kubernetes"):
				for _, text := range gatewayFiles(t, b.text) {
					wantClean(t, at, text)
				}
			case b.is("yaml", "prometheus"):
				if err := yaml.Unmarshal([]byte(b.text), new(any)); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			case b.is("yaml", "precedence.yaml"):
				// It shows a route that is never reached; its table is checked by TestRouteTables.
				if warnings, problems := checkYAML(t, b.text); len(problems) > 0 || len(warnings) != 1 {
					t.Errorf("%s:\n%s%s", at, lines(problems), lines(warnings))
				}
			case len(b.info) == 1 || strings.HasSuffix(b.info[1], ".yaml"):
				wantClean(t, at, b.text)
			default:
				t.Errorf("%s: no rule for %v", at, b.info)
			}
		}
	}
	if loaded < 15 {
		t.Errorf("only %d blocks", loaded)
	}
}

func wantClean(t *testing.T, at, text string) {
	t.Helper()
	warnings, problems := checkYAML(t, text)
	for _, w := range warnings {
		// The reference shows a token without TLS to keep the example short.
		if !strings.Contains(w.Message, "unencrypted") {
			problems = append(problems, w)
		}
	}
	if len(problems) > 0 {
		t.Errorf("%s:\n%s", at, lines(problems))
	}
}

// gatewayFiles returns the configurations in the ConfigMaps among manifests.
func gatewayFiles(t *testing.T, manifests string) (files []string) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(manifests))
	for {
		var m struct {
			Kind string
			Data map[string]string
		}
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range m.Data {
			files = append(files, text)
		}
	}
	if len(files) == 0 {
		t.Error("no ConfigMap")
	}
	return files
}

var requestRow = regexp.MustCompile("(?m)^\\| `([A-Z]+) (http[^` ]+)((?: -H [^`]+)?)` \\| (?:`([a-z0-9-]+)`|([0-9]{3})) \\|")

// TestRouteTables asks the file above each table of requests which route wins.
func TestRouteTables(t *testing.T) {
	p := pageNamed(t, "docs/routing.md")
	checked := 0
	for i, b := range p.blocks {
		if !b.is("yaml") || len(b.info) < 2 || !strings.HasSuffix(b.info[1], ".yaml") {
			continue
		}
		end := len(p.text)
		if i+1 < len(p.blocks) {
			end = p.blocks[i+1].at - len(p.blocks[i+1].text)
		}
		path := filepath.Join(t.TempDir(), b.info[1])
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		rows := requestRow.FindAllStringSubmatch(p.text[b.at:end], -1)
		if len(rows) == 0 {
			t.Errorf("%s: no table below it", b.info[1])
		}
		for _, row := range rows {
			checked++
			var headers [][2]string
			for _, h := range strings.Split(row[3], " -H ")[1:] {
				name, value, _ := strings.Cut(h, ": ")
				headers = append(headers, [2]string{name, value})
			}
			e, err := gateway.Explain(path, env, row[1], row[2], headers, "")
			if err != nil {
				t.Fatalf("%s: %v", row[0], err)
			}
			if row[5] != "" {
				if strconv.Itoa(e.Status) != row[5] {
					t.Errorf("%s: got status %d, route %q", row[0], e.Status, e.Route)
				}
			} else if e.Route != row[4] || e.Status != 0 {
				t.Errorf("%s: got route %q, status %d", row[0], e.Route, e.Status)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d rows", checked)
	}
}

func TestNormalisationTable(t *testing.T) {
	p := pageNamed(t, "docs/routing.md")
	_, section, _ := strings.Cut(p.text, "\n## Normalisation\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `(/[^`]*)` \\| (?:`(/[^`]*)`|400) \\|").FindAllStringSubmatch(section, -1)
	if len(rows) < 10 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		got, _, err := router.AppendCanonical(nil, []byte(row[1]))
		if string(got) != row[2] || (err != nil) != (row[2] == "") {
			t.Errorf("%s becomes %q, %v", row[1], got, err)
		}
	}
}

func TestErrorTable(t *testing.T) {
	p := pageNamed(t, "docs/errors.md")
	var want, got []string
	whose := map[proxy.Source]string{proxy.FromClient: "client", proxy.FromGateway: "gateway", proxy.FromUpstream: "upstream"}
	for _, e := range proxy.Errors() {
		want = append(want, e.Code+" "+strconv.Itoa(e.Status)+" "+whose[e.Source])
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([0-9]{3}) \\| (\\w+) \\|").FindAllStringSubmatch(p.text, -1) {
		got = append(got, row[1]+" "+row[2]+" "+row[3])
	}
	slices.Sort(want)
	slices.Sort(got)
	want = slices.Compact(want) // two errors share a code and differ only in what may be repeated
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%q\nthe program has\n%q", got, want)
	}
}

func TestLinks(t *testing.T) {
	all := map[string]page{}
	for _, p := range pages(t) {
		all[p.name] = p
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.prose(), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			name := p.name
			if target != "" {
				name = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), target))
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: %s leads nowhere", p.name, m[1])
			}
			to := all[name]
			if anchor != "" && !slices.Contains(anchors(&to), anchor) {
				t.Errorf("%s: %s: no such heading", p.name, m[1])
			}
		}
	}
}

// anchors are the names that GitHub gives to the headings of a page.
func anchors(p *page) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(p.prose(), -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		out = append(out, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return out
}

var mention = regexp.MustCompile(`(?m)(?:^\s*|\$ |=|\x60)(?:bin/|/usr/local/bin/|/)?velocity( [^\x60\n&|>]*)?(?:[\x60\n&|>]|$)`)

// TestCommands looks up every command and flag that a page mentions in --help.
func TestCommands(t *testing.T) {
	binary := velocity(t)
	help := map[string]string{}
	helpOf := func(args ...string) string {
		key := strings.Join(args, " ")
		if help[key] == "" {
			out, err := exec.CommandContext(t.Context(), binary, append(args, "--help")...).Output()
			if err != nil {
				t.Fatalf("velocity %s --help: %v", key, err)
			}
			help[key] = string(out)
		}
		return help[key]
	}
	commands := regexp.MustCompile(`(?m)^  ([a-z]+)  +[a-z]`).FindAllStringSubmatch(helpOf(), -1)
	word, flag := regexp.MustCompile(`^[a-z]+$`), regexp.MustCompile(`^(--[a-z]+|-[A-Z])\b`)
	mentioned := 0
	for _, p := range pages(t) {
		for _, m := range mention.FindAllStringSubmatch(p.text, -1) {
			words := strings.Fields(m[1])
			text := helpOf()
			if len(words) > 0 && word.MatchString(words[0]) {
				if !slices.ContainsFunc(commands, func(c []string) bool { return c[1] == words[0] }) {
					t.Errorf("%s: velocity has no command %q: %s", p.name, words[0], m[0])
					continue
				}
				text = helpOf(words[0])
				mentioned++
			}
			for _, w := range words {
				if f := flag.FindString(w); f != "" && f != "--help" && !strings.Contains(text, f) {
					t.Errorf("%s: no flag %s: %s", p.name, f, m[0])
				}
			}
		}
	}
	if mentioned < 10 {
		t.Errorf("only %d commands found", mentioned)
	}
}

func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile("(?m)(?:`|^ *)make ([a-z-]+)").FindAllStringSubmatch(p.text, -1) {
			found++
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s: there is no target %s", p.name, m[1])
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d targets found", found)
	}
}
