package telemetry

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// headers is a Fields made of pairs.
type headers map[string]string

func (h headers) Header(name string) ([]byte, bool) {
	v, ok := h[name]
	return []byte(v), ok
}

// fullEvent has every field set.
func fullEvent() *Event {
	return &Event{
		Start:            time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600)),
		Duration:         12_345_678 * time.Nanosecond,
		UpstreamDuration: 12 * time.Millisecond,
		Status:           502,
		BytesIn:          17,
		BytesOut:         2048,
		Method:           []byte("POST"),
		Scheme:           []byte("https"),
		Host:             []byte("api.example.com"),
		Path:             []byte("/api/v1/users"),
		Query:            []byte("page=2&access_token=abc"),
		Protocol:         []byte("HTTP/1.1"),
		RequestID:        []byte("01J0000000"),
		UserAgent:        []byte(`curl "8"`),
		Referer:          []byte("https://example.com/x?code=abc#frag"),
		ClientIP:         netip.MustParseAddr("2001:db8::1"),
		Peer:             netip.MustParseAddrPort("10.0.0.7:54321"),
		Route:            "example-api",
		Upstream:         "users",
		Endpoint:         "10.0.0.1:3000",
		Attempts:         2,
		Reason:           "upstream_connect_failed",
		Source:           SourceGateway,
		ConnReused:       true,
		RequestHeaders:   headers{"X-Tenant": "t\n1", "Authorization": "Bearer abc"},
		ResponseHeaders:  headers{"Content-Type": "text/plain", "Location": "/cb?code=abc"},
	}
}

func encode(opts AccessLogOptions, e *Event) string {
	return string(newEncoder(&opts).appendEvent(nil, e))
}

func TestLine(t *testing.T) {
	f := func(opts AccessLogOptions, e *Event, want string) {
		t.Helper()
		if got := encode(opts, e); got != want+"\n" {
			t.Errorf("line is\n%s\nwant\n%s", got, want)
		}
	}
	f(AccessLogOptions{}, fullEvent(), `{"time":"2026-01-02T02:04:05.678Z","request_id":"01J0000000","client_ip":"2001:db8::1","peer":"10.0.0.7:54321",`+
		`"method":"POST","scheme":"https","host":"api.example.com","path":"/api/v1/users","protocol":"HTTP/1.1",`+
		`"status":502,"bytes_in":17,"bytes_out":2048,"duration_ms":12.345,"upstream_ms":12.000,"gateway_ms":0.345,`+
		`"route":"example-api","upstream":"users","endpoint":"10.0.0.1:3000","attempts":2,"conn_reused":true,`+
		`"source":"gateway","reason":"upstream_connect_failed","user_agent":"curl \"8\"","referer":"https://example.com/x"}`)
	f(AccessLogOptions{}, &Event{Start: time.Unix(0, 0)}, `{"time":"1970-01-01T00:00:00.000Z",`+
		`"status":0,"bytes_in":0,"bytes_out":0,"duration_ms":0.000,"upstream_ms":0.000,"gateway_ms":0.000}`)
	f(AccessLogOptions{
		Query:           true,
		RequestHeaders:  []string{"x-tenant", "authorization", "x-absent"},
		ResponseHeaders: []string{"Location", "Content-Type"},
	}, &Event{
		Start:           time.Unix(1, 0),
		Status:          302,
		Query:           []byte("page=2&access_token=abc&flag&code=x"),
		Referer:         []byte("https://example.com/x?a=b&sig=abc#frag"),
		RequestHeaders:  fullEvent().RequestHeaders,
		ResponseHeaders: fullEvent().ResponseHeaders,
	}, `{"time":"1970-01-01T00:00:01.000Z","query":"page=2&access_token=REDACTED&flag&code=REDACTED",`+
		`"status":302,"bytes_in":0,"bytes_out":0,"duration_ms":0.000,"upstream_ms":0.000,"gateway_ms":0.000,`+
		`"referer":"https://example.com/x?a=b&sig=REDACTED",`+
		`"request_headers":{"x-tenant":"t\n1","authorization":"REDACTED"},`+
		`"response_headers":{"location":"/cb?code=REDACTED","content-type":"text/plain"}}`)
}

func TestSecretsNeverAppear(t *testing.T) {
	const secret = "hunter2"
	names := []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token", "X-Session-Id", "X-Amz-Security-Token", "X-Acme-Badge"}
	values := headers{}
	for _, name := range names {
		values[name] = secret
	}
	values["Location"] = "https://example.com/?code=" + secret + "#access_token=" + secret
	names = append(names, "Location")
	e := &Event{
		Query:           []byte("Token=" + secret + "&acme=" + secret + "&X-Amz-Signature=" + secret + "&key=" + secret),
		Referer:         []byte("https://example.com/?password=" + secret),
		RequestHeaders:  values,
		ResponseHeaders: values,
	}
	for _, query := range []bool{false, true} {
		got := encode(AccessLogOptions{Query: query, RequestHeaders: names, ResponseHeaders: names, Redact: []string{"x-acme-badge", "Acme"}}, e)
		if strings.Contains(got, secret) {
			t.Errorf("with query %v a secret is in the line: %s", query, got)
		}
		if !strings.Contains(got, `"x-acme-badge":"REDACTED"`) {
			t.Errorf("with query %v a redacted header is not in the line: %s", query, got)
		}
	}
}

func TestEscape(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var l line
		appendString(&l, in, 100)
		if string(l.b) != `"`+want+`"` {
			t.Errorf("%q is escaped as %s, want %s", in, l.b, want)
		}
	}
	f("", "")
	f("plain /~", "plain /~")
	f(`a"b\c`, `a\"b\\c`)
	f("\n\r\t\b\x00", `\n\r\t\u0008\u0000`)
	f("\x1b[31m\x7f\u0085\u009b", `\u001b[31m\u007f\u0085\u009b`)
	f("é€😀", "é€😀")
	f("\u2028\u2029", `\u2028\u2029`)
	f("a\xffb\xe2\x82", `a\ufffdb\ufffd\ufffd`)
	f("\ufffd", "\ufffd") // written by the client, not a mark of ours
}

func TestTruncation(t *testing.T) {
	f := func(in string, limit int, want string) {
		t.Helper()
		var l line
		appendString(&l, in, limit)
		if string(l.b) != `"`+want+`"` || l.cut != (in != want) {
			t.Errorf("%q within %d bytes is %s (cut %v), want %s", in, limit, l.b, l.cut, want)
		}
	}
	f("abcd", 4, "abcd")
	f("abcde", 4, "abcd…")
	f("abc€", 6, "abc€")
	f("abc€", 5, "abc…")
	f("abc\x00", 8, "abc…")
	f("\x00\x00", 11, `\u0000…`)

	long := []byte(strings.Repeat("\x01", 10_000))
	name := string(long)
	many := make([]string, 100)
	values := headers{}
	for i := range many {
		many[i] = "X-" + strings.Repeat("A", i+1)
	}
	opts := AccessLogOptions{Query: true, RequestHeaders: many, ResponseHeaders: many}
	enc := newEncoder(&opts)
	for _, h := range enc.request {
		values[h.name] = name
	}
	got := enc.appendEvent(nil, &Event{
		Method: long, Scheme: long, Host: long, Path: long, Query: long, Protocol: long, RequestID: long,
		UserAgent: long, Referer: long, Route: name, Upstream: name, Endpoint: name, Reason: name, Source: name,
		Status: math.MaxInt, BytesIn: 1 << 62, BytesOut: 1 << 62, Duration: 1 << 62, UpstreamDuration: 1 << 61, Attempts: math.MaxInt,
		ClientIP:       netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"),
		Peer:           netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"),
		RequestHeaders: values, ResponseHeaders: values,
	})
	if len(got) > maxLine {
		t.Errorf("the line has %d bytes, more than %d", len(got), maxLine)
	}
	var fields map[string]any
	if err := json.Unmarshal(got, &fields); err != nil {
		t.Fatalf("parse line: %v", err)
	}
	if fields["truncated"] != true {
		t.Error("the line does not say that it was truncated")
	}
	if _, ok := fields["request_headers"]; !ok {
		t.Error("long fixed fields leave no room for any header")
	}
}

// TestTimeCache checks that an old request neither gets the newest second's text
// nor pushes it out.
func TestTimeCache(t *testing.T) {
	enc := newEncoder(&AccessLogOptions{})
	f := func(at time.Time, want string) {
		t.Helper()
		if got := string(enc.appendTime(nil, at)); got != want {
			t.Errorf("time is %s, want %s", got, want)
		}
	}
	base := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC)
	f(base, "2026-02-28T23:59:59.000Z")
	f(base.Add(time.Second-1), "2026-02-28T23:59:59.999Z")
	f(base.Add(time.Second), "2026-03-01T00:00:00.000Z")
	newest := enc.second.Load()
	f(base.Add(7*time.Millisecond), "2026-02-28T23:59:59.007Z")
	if enc.second.Load() != newest {
		t.Error("an older second replaced the newest")
	}
	f(time.Time{}, "0001-01-01T00:00:00.000Z")
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte("/a\"b\\c\x00\xff"), []byte("a=b&token=c&&=;"), []byte("https://e/?a#b"), "name", int64(1), 200)
	f.Add([]byte("\u2028\xe2\x80"), []byte("%&=&?"), []byte("#?#"), "\n", int64(-1), -5)
	f.Fuzz(func(t *testing.T, path, query, value []byte, name string, nanos int64, status int) {
		opts := AccessLogOptions{Query: true, RequestHeaders: []string{name, "location"}, Redact: []string{name}}
		e := &Event{
			Start: time.Unix(0, nanos), Duration: time.Duration(nanos), UpstreamDuration: time.Duration(status),
			Status: status, Method: value, Host: value, Path: path, Query: query, Referer: value, UserAgent: path,
			Route: name, Reason: name, Attempts: status, RequestHeaders: anyHeader(value),
		}
		got := newEncoder(&opts).appendEvent(nil, e)
		if !json.Valid(got) || !utf8.Valid(got) {
			t.Fatalf("not JSON: %q", got)
		}
		if bytes.IndexByte(got, '\n') != len(got)-1 {
			t.Fatalf("not one line: %q", got)
		}
		if len(got) > maxLine {
			t.Fatalf("%d bytes", len(got))
		}
		var fields struct{ Path string }
		if err := json.Unmarshal(got, &fields); err != nil {
			t.Fatalf("parse line: %v", err)
		}
		if want := string(bytes.ToValidUTF8(path, []byte("\ufffd"))); len(path) < 300 && utf8.Valid(path) && fields.Path != want {
			t.Fatalf("path is %q, want %q", fields.Path, want)
		}
	})
}

// anyHeader has the same value under every name.
type anyHeader []byte

func (h anyHeader) Header(string) ([]byte, bool) { return h, true }
