package echo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/bytedance/sonic"
	"github.com/valyala/fasthttp"
)

// textLimit is the largest request body, in bytes, that is shown as text.
const textLimit = 4 << 10

// Reply is the JSON document that describes a request as it arrived here, after
// whatever stands in front has changed it.
type Reply struct {
	Instance      string   `json:"instance"`
	Method        string   `json:"method"`
	Path          string   `json:"path"` // as sent: still percent-encoded
	Query         string   `json:"query"`
	Protocol      string   `json:"protocol"`
	Host          string   `json:"host"`
	RemoteAddress string   `json:"remote_address"`
	Headers       []string `json:"headers"` // "Name: value", in the order and case received
	Body          Body     `json:"body"`
}

// Body describes the request's body.
type Body struct {
	Size   int64  `json:"size"`             // bytes
	SHA256 string `json:"sha256,omitempty"` // lower-case hex; absent without a body
	Text   string `json:"text,omitempty"`   // only when it is UTF-8 of at most 4 KiB
}

// Header returns the values of the named header in the order received, or nil.
// Names compare without case.
func (r *Reply) Header(name string) []string {
	var values []string
	for _, line := range r.Headers {
		if got, value, ok := strings.Cut(line, ": "); ok && strings.EqualFold(got, name) {
			values = append(values, value)
		}
	}
	return values
}

// reply answers with the request itself. It fails when the body cannot be read.
func (s *Server) reply(ctx *fasthttp.RequestCtx) error {
	body, err := readBody(ctx)
	if err != nil {
		return err
	}
	r := Reply{
		Instance:      s.name,
		Method:        string(ctx.Method()),
		Path:          string(ctx.URI().PathOriginal()),
		Query:         string(ctx.URI().QueryString()),
		Protocol:      string(ctx.Request.Header.Protocol()),
		Host:          string(ctx.Host()),
		RemoteAddress: ctx.RemoteAddr().String(),
		Headers:       headerLines(ctx.Request.Header.RawHeaders()),
		Body:          body,
	}
	// The default configuration leaves '&', '<' and '>' readable.
	document, err := sonic.ConfigDefault.MarshalIndent(r, "", "  ")
	if err != nil {
		panic("BUG: marshal reply: " + err.Error())
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(append(document, '\n'))
	return nil
}

// headerLines splits a raw header block into lines of the form "Name: value".
func headerLines(raw []byte) []string {
	lines := make([]string, 0, 16)
	for line := range bytes.Lines(raw) {
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if !ok {
			continue // the empty line that ends the block
		}
		lines = append(lines, validText(name)+": "+validText(bytes.TrimSpace(value)))
	}
	return lines
}

// validText keeps the document valid JSON whatever bytes a header carries.
func validText(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// readBody reads the body to its end and keeps no more of it than can be shown.
func readBody(ctx *fasthttp.RequestCtx) (Body, error) {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		stream = bytes.NewReader(ctx.PostBody())
	}
	sum := sha256.New()
	var text opening
	size, err := io.Copy(io.MultiWriter(sum, &text), stream)
	if err != nil {
		return Body{}, fmt.Errorf("read body: %w", err)
	}
	body := Body{Size: size}
	if size > 0 {
		body.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	if size <= textLimit && utf8.Valid(text) {
		body.Text = string(text)
	}
	return body, nil
}

// opening keeps the first textLimit bytes written to it.
type opening []byte

func (o *opening) Write(p []byte) (int, error) {
	*o = append(*o, p[:min(len(p), textLimit-len(*o))]...)
	return len(p), nil
}
