package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
)

var update = flag.Bool("update", false, "write what happened into the corpus, to be read before it is believed")

// corpusSettings bound what the cases try out.
const corpusSettings = `
server:
  host: 127.0.0.1
  port: 0
  max_header_bytes: 8KiB
  max_uri_bytes: 1KiB
  headers: {max_count: 20}
  shutdown: {delay: 0s, timeout: 5s}
admin: {port: 0}
observability: {access_log: {enabled: false}}
upstreams:
  - {name: u, targets: [{url: "http://%s"}]}
routes:
  - {path: /-probe-, respond: {status: 299, body: probe}}
  - {path: /small, max_body_size: 10, upstream: u}
  - {path: /*, upstream: u}
`

// probe follows the bytes of a case at once. Its answer, which nothing else
// gives, shows that the connection is still in step.
const probe = "GET /-probe- HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"

// TestCorpus plays the files of testdata/requests and testdata/replies: raw
// bytes from a client, the exact bytes that the upstream saw, and what the
// client got. A case is
//
//	== its name
//	> bytes that the client sends; <eof> ends its side of the connection
//	| bytes that the upstream saw
//	+ bytes that the upstream answers the first request with; <close> closes
//	< what the client got
//	= what became of the upstream's connection: reused, closed or unused
//
// Bytes are written with \r, \n, \t, \xNN and \\, and <100*a> for a run; the
// breaks between lines of the file mean nothing. In requests the client's side
// is a status and an error code for each answer, in replies the bytes, but for
// the gateway's own errors. "kept" or "closed" says what the gateway did with
// the client's connection. <id>, <now> and <upstream> stand for what differs from run to
// run.
func TestCorpus(t *testing.T) {
	for _, kind := range []struct {
		folder  string
		atLeast int
	}{{"requests", 250}, {"replies", 80}} {
		files, err := filepath.Glob(filepath.Join("testdata", kind.folder, "*.txt"))
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, file := range files {
			f := readCorpus(t, file)
			total += len(f.cases)
			t.Run(kind.folder+"/"+strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				f.play(t, kind.folder == "replies")
			})
			if *update {
				f.write(t, file)
			}
		}
		if total < kind.atLeast {
			t.Errorf("%s: %d cases, want %d", kind.folder, total, kind.atLeast)
		}
	}
}

type corpusFile struct {
	preamble string
	cases    []*corpusCase
}

type corpusCase struct {
	name, comment     string
	send, seen, reply string
	halfClose, closes bool
	client            string // lines of "<"
	fate              string
	hasReply          bool
}

// corpusForm is a line of a case.
var corpusForm = regexp.MustCompile(`^([>|+<=])(?: (.*))?$`)

func readCorpus(t *testing.T, path string) *corpusFile {
	t.Helper()
	f := &corpusFile{}
	preamble, rest, _ := strings.Cut(testkit.ReadFile(t, path), "\n== ")
	f.preamble = preamble
	for part := range strings.SplitSeq(rest, "\n== ") {
		name, body, _ := strings.Cut(part, "\n")
		c := &corpusCase{name: name}
		for line := range strings.Lines(body) {
			line = strings.TrimSuffix(line, "\n")
			m := corpusForm.FindStringSubmatch(line)
			if m == nil {
				if line != "" {
					c.comment += line + "\n"
				}
				continue
			}
			switch text := m[2]; m[1] {
			case ">":
				if text == "<eof>" {
					c.halfClose = true
					continue
				}
				c.send += decode(t, text)
			case "|":
				c.seen += text + "\n"
			case "+":
				c.hasReply = true
				if text == "<close>" {
					c.closes = true
					continue
				}
				c.reply += decode(t, text)
			case "<":
				c.client += text + "\n"
			case "=":
				c.fate = text
			}
		}
		f.cases = append(f.cases, c)
	}
	return f
}

func (f *corpusFile) write(t *testing.T, path string) {
	t.Helper()
	b := bytes.NewBufferString(f.preamble)
	for _, c := range f.cases {
		fmt.Fprintf(b, "\n== %s\n%s", c.name, c.comment)
		lines := func(mark, text string) {
			for line := range strings.Lines(text) {
				fmt.Fprintf(b, "%s %s", mark, line)
			}
		}
		lines(">", encode(c.send))
		if c.halfClose {
			lines(">", "<eof>\n")
		}
		lines("|", c.seen)
		lines("+", encode(c.reply))
		if c.closes {
			lines("+", "<close>\n")
		}
		lines("<", c.client)
		lines("=", c.fate+"\n")
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// play runs the cases of a file one after the other against one gateway.
func (f *corpusFile) play(t *testing.T, wantBytes bool) {
	u := newRecorder(t)
	g, _ := start(t, fmt.Sprintf(corpusSettings, u.addr))
	for _, c := range f.cases {
		u.begin(c)
		raw := converse(t, g.Addr, c)
		client := summarise(raw)
		if wantBytes {
			client = describe(raw)
		}
		shown := func(bytes string) string { return strings.ReplaceAll(mask(encode(bytes)), u.addr, "<upstream>") }
		seen := shown(u.seen(t, c, func(bytes string) bool { return *update || shown(bytes) == c.seen }))
		fate := "unused"
		if u.requests() > 0 {
			// The next request shows whether the connection is used again.
			if next := testkit.Dial(t, g.Addr).Do(t, "GET", "/next"); next.Status != 200 {
				t.Fatalf("%s: the next request got %d", c.name, next.Status)
			}
			if fate = "closed"; u.reused() {
				fate = "reused"
			}
		}
		if *update {
			c.seen, c.client, c.fate = seen, client, fate
			continue
		}
		check := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s\n%swant\n%s", c.name, what, got, want)
			}
		}
		check("the upstream saw", seen, c.seen)
		check("the client got", client, c.client)
		check("the upstream's connection is", fate+"\n", c.fate+"\n")
	}
}

var (
	runForm    = regexp.MustCompile(`<(\d+)\*(.)>`)
	escapeForm = regexp.MustCompile(`\\(x[0-9a-f]{2}|[nrt\\])`)
	longForm   = regexp.MustCompile(strings.Repeat("a", 60) + "+|" + strings.Repeat("0", 60) + "+")
	idForm     = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	dateForm   = regexp.MustCompile(`Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 202[0-9] \d\d:\d\d:\d\d GMT`)
	answerForm = regexp.MustCompile(`HTTP/1\.[01] (\d{3}) |"code":"(\w+)"`)
)

// decode turns a line of a case into bytes.
func decode(t *testing.T, line string) string {
	t.Helper()
	line = runForm.ReplaceAllStringFunc(line, func(m string) string {
		p := runForm.FindStringSubmatch(m)
		n, err := strconv.Atoi(p[1])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(p[2], n)
	})
	return escapeForm.ReplaceAllStringFunc(line, func(m string) string {
		u, err := strconv.Unquote(`"` + m + `"`)
		if err != nil {
			t.Fatal(err)
		}
		return u
	})
}

// encode is the reverse of decode: a line for each line of the bytes.
func encode(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		for i := range len(line) {
			switch c := line[i]; {
			case c == '\r':
				b.WriteString(`\r`)
			case c == '\n':
				b.WriteString(`\n`)
			case c == '\t':
				b.WriteString(`\t`)
			case c == '\\':
				b.WriteString(`\\`)
			case c < ' ' || c >= 0x7f:
				fmt.Fprintf(&b, `\x%02x`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('\n')
	}
	return longForm.ReplaceAllStringFunc(b.String(), func(run string) string {
		return fmt.Sprintf("<%d*%c>", len(run), run[0])
	})
}

// mask names what differs from run to run.
func mask(s string) string {
	s = idForm.ReplaceAllString(s, "<id>")
	return dateForm.ReplaceAllString(s, "Date: <now>")
}

// summarise tells status and error code of each answer, and whether the
// connection was kept.
func summarise(raw string) string {
	raw, fate := cutProbe(raw)
	var b strings.Builder
	for _, m := range answerForm.FindAllStringSubmatch(raw, -1) {
		if m[1] != "" && b.Len() > 0 {
			b.WriteByte('\n')
		}
		if m[1] == "" {
			b.WriteByte(' ')
		}
		b.WriteString(m[1] + m[2])
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String() + fate + "\n"
}

// describe gives the answers' bytes, but for the gateway's own errors, of which
// it tells status and code.
func describe(raw string) string {
	answers, fate := cutProbe(raw)
	if strings.Contains(answers, "application/problem+json") {
		return summarise(raw)
	}
	return mask(encode(answers)) + fate + "\n"
}

// cutProbe cuts the answer to the probe off.
func cutProbe(raw string) (answers, fate string) {
	if i := strings.LastIndex(raw, "HTTP/1.1 299 "); i >= 0 {
		return raw[:i], "kept"
	}
	return raw, "closed"
}
