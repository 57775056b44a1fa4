package testkit

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Response is an HTTP response with its whole body.
type Response struct {
	// Status is the status code.
	Status int
	// Header holds the fields as they came, under canonical names.
	Header http.Header
	// Body is the body, without transfer coding.
	Body string
	// Close is set when the server says that it ends the connection.
	Close bool
}

// JSON decodes the body.
func (r Response) JSON(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(r.Body), v); err != nil {
		tb.Fatalf("decode body: %v\n%s", err, r.Body)
	}
}

// Conn is a client's connection that says exactly what it is told to.
type Conn struct {
	net.Conn
	r *bufio.Reader
}

// Dial connects to a server; the connection ends with the test. Every exchange
// on it must be over within Patience.
func Dial(tb testing.TB, addr string) *Conn {
	tb.Helper()
	c, err := NewConn(addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// NewConn is Dial for goroutines, which must not end a test: the caller closes
// the connection.
func NewConn(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, r: bufio.NewReader(c)}, nil
}

// Send writes raw bytes.
func (c *Conn) Send(tb testing.TB, raw string) {
	tb.Helper()
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		tb.Fatalf("send request: %v", err)
	}
}

// Receive reads the answer to a request of the given method.
func (c *Conn) Receive(tb testing.TB, method string) Response {
	tb.Helper()
	r, err := c.read(method)
	if err != nil {
		tb.Fatalf("read response: %v", err)
	}
	return r
}

// Do sends a request and reads its answer.
func (c *Conn) Do(tb testing.TB, method, target string, headers ...string) Response {
	tb.Helper()
	r, err := c.Try(method, target, headers...)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, target, err)
	}
	return r
}

// Try is Do for goroutines, which must not end a test.
func (c *Conn) Try(method, target string, headers ...string) (Response, error) {
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		return Response{}, err
	}
	if _, err := io.WriteString(c, c.head(method, target, headers)); err != nil {
		return Response{}, err
	}
	return c.read(method)
}

// head writes a request without a body, with a Host unless headers have one.
func (c *Conn) head(method, target string, headers []string) string {
	var b strings.Builder
	b.WriteString(method + " " + target + " HTTP/1.1\r\n")
	hasHost := false
	for _, h := range headers {
		hasHost = hasHost || strings.HasPrefix(h, "Host:")
		b.WriteString(h + "\r\n")
	}
	if !hasHost {
		b.WriteString("Host: " + c.RemoteAddr().String() + "\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

func (c *Conn) read(method string) (Response, error) {
	r, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return Response{}, err
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close() // it has been read to its end, or the connection is of no more use
	return Response{Status: r.StatusCode, Header: r.Header, Body: string(body), Close: r.Close}, err
}

// Ended waits for the server to end the connection and reports whether it did
// so without sending anything more.
func (c *Conn) Ended(within time.Duration) bool {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return false
	}
	_, err := c.r.ReadByte()
	if err == nil {
		return false
	}
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}

// Do sends one request on a connection of its own.
func Do(tb testing.TB, addr, method, target string, headers ...string) Response {
	tb.Helper()
	c, err := NewConn(addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	return c.Do(tb, method, target, headers...)
}

// Get is Do for a GET.
func Get(tb testing.TB, addr, target string, headers ...string) Response {
	tb.Helper()
	return Do(tb, addr, "GET", target, headers...)
}
