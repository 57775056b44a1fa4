package proxy

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what happened into testdata, to be read before it is believed")

// TestText runs the cases of testdata: a gateway, the bytes that a client sends
// it and the replies of its upstream; and then, exactly, what the upstream saw,
// what the client got and what was recorded.
//
// A file is cases that begin with "== name", each with sections:
//
//	-- config     directives, see site.build; $1 is the upstream
//	-- client     bytes that the client sends, at once
//	-- upstream   a request that the upstream saw; "-- upstream new" and
//	              "-- upstream same" say over which connection, if it matters
//	-- reply      what the upstream answers it with
//	-- response   all that the client got; <closed> if the gateway closed
//	-- event      a line for each request, as recorded
//
// A config before the first case belongs to all. In the sections of bytes each
// line ends in CRLF, unless it ends in a backslash; \n, \r, \t, \xNN and \\ are
// escapes, <70000*a> stands for as many letters. What differs from run to run
// has a name: <id>, <id2>, <now>, <upstream>. <close> in a reply closes.
func TestText(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		f := readText(t, file)
		for i := range f.cases {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+f.cases[i].name, func(t *testing.T) {
				f.cases[i].run(t, f.config)
			})
		}
		if *update {
			f.write(t, file)
		}
	}
}

type textFile struct {
	preamble string // comment and config
	config   string
	cases    []textCase
}

type textCase struct {
	name     string
	comment  string
	config   string
	client   string
	exchange []textExchange
	response string
	events   string
}

type textExchange struct{ connection, request, reply string }

func readText(t *testing.T, file string) *textFile {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split("\n"+string(b), "\n== ")
	f := &textFile{preamble: strings.TrimPrefix(parts[0], "\n")}
	_, f.config, _ = strings.Cut(parts[0], "-- config\n")
	for _, part := range parts[1:] {
		sections := strings.Split(strings.TrimSuffix(part, "\n"), "\n-- ")
		name, comment, _ := strings.Cut(sections[0], "\n")
		c := textCase{name: name, comment: comment}
		for _, section := range sections[1:] {
			title, body, _ := strings.Cut(section+"\n", "\n")
			kind, detail, _ := strings.Cut(title, " ")
			switch kind {
			case "config":
				c.config = body
			case "client":
				c.client += body
			case "upstream":
				c.exchange = append(c.exchange, textExchange{connection: detail, request: body})
			case "reply":
				if n := len(c.exchange); n == 0 || c.exchange[n-1].reply != "" {
					c.exchange = append(c.exchange, textExchange{reply: body})
				} else {
					c.exchange[n-1].reply = body
				}
			case "response":
				c.response = body
			case "event":
				c.events = body
			default:
				t.Fatalf("%s: %s: unknown section %q", file, name, kind)
			}
		}
		f.cases = append(f.cases, c)
	}
	return f
}

// write writes the cases with what happened when they ran.
func (f *textFile) write(t *testing.T, file string) {
	t.Helper()
	b := bytes.NewBufferString(f.preamble)
	for _, c := range f.cases {
		fmt.Fprintf(b, "\n== %s\n", c.name)
		if c.comment != "" {
			fmt.Fprintf(b, "%s\n", c.comment)
		}
		section := func(title, body string) {
			if body != "" {
				fmt.Fprintf(b, "-- %s\n%s", strings.TrimSpace(title), body)
			}
		}
		section("config", c.config)
		section("client", c.client)
		for _, e := range c.exchange {
			section("upstream "+e.connection, e.request)
			section("reply", e.reply)
		}
		section("response", c.response)
		section("event", c.events)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run plays the case and compares. With -update it takes what happened.
func (c *textCase) run(t *testing.T, config string) {
	script := &textScript{replies: c.exchange}
	b := newBackend(t, script.serve)
	s := newSite(t, config+c.config, b.url)
	got := c.converse(t, s)
	s.settle(1)

	n := newNames(strings.TrimPrefix(b.url, "http://"))
	var seen []textExchange
	for i, e := range script.taken() {
		e.request = n.text(e.request)
		if i < len(c.exchange) {
			e.reply = c.exchange[i].reply
			if c.exchange[i].connection == "" {
				e.connection = ""
			}
		}
		seen = append(seen, e)
	}
	response := n.text(got)
	var events strings.Builder
	for _, e := range s.taken() {
		if e.path != endPath {
			fmt.Fprintln(&events, describe(&e))
		}
	}
	if *update {
		c.exchange, c.response, c.events = seen, response, events.String()
		return
	}
	want := c.exchange
	if len(want) > 0 && want[len(want)-1].request == "" {
		want = want[:len(want)-1] // a reply that nobody asked for
	}
	for i := range max(len(want), len(seen)) {
		switch {
		case i >= len(want):
			t.Errorf("the upstream also saw\n%s", seen[i].request)
		case i >= len(seen):
			t.Errorf("the upstream did not see\n%s", want[i].request)
		case want[i] != seen[i]:
			t.Errorf("the upstream saw, over the %s connection\n%s\nwant, over the %s connection\n%s",
				seen[i].connection, seen[i].request, want[i].connection, want[i].request)
		}
	}
	if response != c.response {
		t.Errorf("response\n%s\nwant\n%s", response, c.response)
	}
	if events.String() != c.events {
		t.Errorf("recorded\n%s\nwant\n%s", events.String(), c.events)
	}
}

// converse sends the client's bytes and then asks for the end, and returns
// everything that came back before.
func (c *textCase) converse(t *testing.T, s *site) string {
	t.Helper()
	conn := s.dial()
	last := "GET " + endPath + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(conn, expand(c.client)+last) }) // refused early, it may fail
	b, err := io.ReadAll(conn)
	if err != nil && !isReset(err) {
		t.Fatalf("read: %v after %q", err, b)
	}
	sending.Wait()
	_ = conn.Close() // the gateway may wait for it
	if i := bytes.LastIndex(b, []byte("HTTP/1.1 299 ")); i >= 0 {
		return string(b[:i])
	}
	return string(b) + "<closed>\r\n"
}

// isReset tells that the other side closed with bytes unread: it does so after
// refusing a request, and the answer may get lost with them.
func isReset(err error) bool {
	op, ok := err.(*net.OpError) //nolint:errorlint // as it comes from the connection
	return ok && !op.Timeout()
}

func describe(e *event) string {
	text := fmt.Sprintf("%d %s", e.Status, e.Source)
	for _, p := range []struct{ name, value string }{
		{"route", e.Route},
		{"upstream", e.Upstream},
		{"reason", e.Reason},
		{"client", e.ClientIP.String()},
		{"attempts", strconv.Itoa(e.Attempts)},
		{"in", strconv.FormatInt(e.BytesIn, 10)},
		{"out", strconv.FormatInt(e.BytesOut, 10)},
	} {
		if p.value != "" && p.value != "0" && p.value != "127.0.0.1" {
			text += " " + p.name + "=" + p.value
		}
	}
	return text
}

// textScript is the upstream of a case.
type textScript struct {
	replies []textExchange

	mu   sync.Mutex
	seen []textExchange
}

func (s *textScript) serve(p *peer) {
	for first := true; ; first = false {
		request, ok := p.request()
		if !ok && request == "" {
			return
		}
		s.mu.Lock()
		i := len(s.seen)
		connection := "same"
		if first {
			connection = "new"
		}
		s.seen = append(s.seen, textExchange{connection: connection, request: request})
		s.mu.Unlock()
		if i >= len(s.replies) {
			return
		}
		reply, closes := strings.CutSuffix(expand(s.replies[i].reply), "<close>\r\n")
		p.write(reply)
		if closes {
			return
		}
	}
}

func (s *textScript) taken() []textExchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

var (
	runForm    = regexp.MustCompile(`<(\d+)\*(.)>`)
	escapeForm = regexp.MustCompile(`\\(x[0-9a-f]{2}|[nrt\\])`)
	idForm     = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	dateForm   = regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)
	longForm   = regexp.MustCompile(strings.Repeat("a", 100) + "+|" + strings.Repeat("b", 100) + "+")
)

// expand turns a section into bytes.
func expand(section string) string {
	var b strings.Builder
	for l := range strings.Lines(section) {
		l = strings.TrimSuffix(l, "\n")
		l, open := strings.CutSuffix(l, `\`)
		l = runForm.ReplaceAllStringFunc(l, func(m string) string {
			p := runForm.FindStringSubmatch(m)
			n, _ := strconv.Atoi(p[1])
			return strings.Repeat(p[2], n)
		})
		l = escapeForm.ReplaceAllStringFunc(l, func(m string) string {
			u, err := strconv.Unquote(`"` + m + `"`)
			if err != nil {
				return m
			}
			return u
		})
		b.WriteString(l)
		if !open {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

// names gives what differs from run to run a name.
type names struct {
	upstream string
	ids      map[string]string
}

func newNames(upstream string) *names { return &names{upstream: upstream, ids: map[string]string{}} }

// text is the reverse of expand.
func (n *names) text(s string) string {
	s = idForm.ReplaceAllStringFunc(s, func(id string) string {
		if n.ids[id] == "" {
			n.ids[id] = "<id>"
			if len(n.ids) > 1 {
				n.ids[id] = "<id" + strconv.Itoa(len(n.ids)) + ">"
			}
		}
		return n.ids[id]
	})
	s = dateForm.ReplaceAllStringFunc(s, func(d string) string {
		if at, err := time.Parse(time.RFC1123, d); err == nil && time.Since(at).Abs() < time.Minute {
			return "<now>"
		}
		return d
	})
	s = strings.ReplaceAll(s, n.upstream, "<upstream>")
	var b strings.Builder
	for len(s) > 0 {
		l, rest, whole := strings.Cut(s, "\r\n")
		s = rest
		q := strconv.QuoteToASCII(l)
		q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
		q = longForm.ReplaceAllStringFunc(q, func(run string) string { return fmt.Sprintf("<%d*%c>", len(run), run[0]) })
		b.WriteString(q)
		if !whole {
			b.WriteString(`\`)
		}
		b.WriteString("\n")
	}
	return b.String()
}
