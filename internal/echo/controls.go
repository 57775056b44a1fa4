package echo

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// The limits keep a mistyped number from tying up the machine.
const (
	maxSize     = 1 << 30 // bytes
	maxDelay    = time.Minute
	maxParts    = 10_000 // chunks or events
	maxDuration = 10 * time.Minute
)

// Usage is the help text, answered to GET / without a query.
const Usage = `velocity echo: a sample upstream

  GET /            this text
  GET /plain       13 bytes of text, as fast as possible
  GET /health      200, or 503 after  POST /health?up=false  (up=true undoes it)
  anything else    a JSON document that describes the request as it arrived here

The query changes the answer of every path but /health:

  status=503               status code, 200 to 599
  size=64KiB               a body of that size, the same bytes each time; up to 1GiB
  delay=200ms              wait before answering; up to 1m
  chunked=true             stream the body in chunks, each sent at once
    chunks=5               how many (1 without it); up to 10000
    interval=100ms         pause between them (0 without it)
  sse=5                    that many server-sent events; interval= applies
  header=Name:Value        add a response header; may be repeated
  close=true               close the connection after the answer
  reset=true               close the connection without an answer

POST /behavior changes the answer to every request that is not to /health, until
the next POST /behavior, which starts afresh:

  status=500               status code
  delay=50ms               wait before answering
  capacity=8               work on so many requests at a time; others wait

Sizes are bytes, or take B, KiB, MiB or GiB. A value that cannot be used is
answered with 400. Every answer carries ` + InstanceHeader + `.
`

// controls are what the query asks of the answer.
type controls struct {
	status   int
	delay    time.Duration
	interval time.Duration
	size     int64 // bytes; meaningful when hasSize
	hasSize  bool
	chunks   int
	chunked  bool
	events   int // zero means no events
	headers  []header
	close    bool
	reset    bool
}

type header struct{ name, value string }

// parseControls reads the query. Names that it does not know belong to whoever
// is being imitated and are left alone; the last of a repeated name wins.
func parseControls(query *fasthttp.Args) (controls, error) {
	c := controls{status: fasthttp.StatusOK, chunks: 1}
	for key, raw := range query.All() {
		value := string(raw)
		var err error
		switch string(key) {
		case "status":
			c.status, err = parseCount(value, 200, 599)
		case "delay":
			c.delay, err = parseDelay(value)
		case "interval":
			c.interval, err = parseDelay(value)
		case "size":
			c.size, err = parseSize(value)
			c.hasSize = true
		case "chunks":
			c.chunks, err = parseCount(value, 1, maxParts)
		case "chunked":
			c.chunked, err = parseBool(value)
		case "sse":
			c.events, err = parseCount(value, 1, maxParts)
		case "close":
			c.close, err = parseBool(value)
		case "reset":
			c.reset, err = parseBool(value)
		case "header":
			var h header
			h, err = parseHeader(value)
			c.headers = append(c.headers, h)
		}
		if err != nil {
			return controls{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	if parts := max(c.chunks, c.events); time.Duration(parts)*c.interval > maxDuration {
		return controls{}, fmt.Errorf("interval: %d parts at %s take more than %s", parts, c.interval, maxDuration)
	}
	return c, nil
}

func parseCount(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("must be a number from %d to %d", low, high)
	}
	return n, nil
}

func parseDelay(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxDelay {
		return 0, fmt.Errorf("must be a duration such as 200ms, from 0s to %s", maxDelay)
	}
	return d, nil
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

// parseSize reads a size in bytes such as 512, 512B or 64KiB.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "BKMGi")
	var unit int64
	switch s[len(digits):] {
	case "", "B":
		unit = 1
	case "KiB":
		unit = 1 << 10
	case "MiB":
		unit = 1 << 20
	case "GiB":
		unit = 1 << 30
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if unit == 0 || err != nil || n < 0 || n > math.MaxInt64/unit || n*unit > maxSize {
		return 0, errors.New("must be a size such as 512 or 64KiB, from 0 to 1GiB")
	}
	return n * unit, nil
}

// parseHeader reads "Name:Value". Fields that frame the message are refused:
// they would contradict the body that follows.
func parseHeader(s string) (header, error) {
	name, value, ok := strings.Cut(s, ":")
	value = strings.TrimSpace(value)
	if !ok || !isToken(name) || !isFieldValue(value) {
		return header{}, errors.New("must be Name:Value")
	}
	for _, framing := range []string{"Content-Length", "Transfer-Encoding", "Connection", "Trailer"} {
		if strings.EqualFold(name, framing) {
			return header{}, fmt.Errorf("%s frames the message and cannot be set", framing)
		}
	}
	return header{name, value}, nil
}

// isToken reports whether s is a field name (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s is free of control bytes (RFC 9110, 5.5).
func isFieldValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
