package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bytedance/sonic/ast"
	"github.com/valyala/fasthttp"
)

const (
	// maxBody is the largest request body, in bytes. All that there are fit many
	// times.
	maxBody = 8 << 10

	contentTypeJSON  = "application/json"
	contentTypeMerge = "application/merge-patch+json" // RFC 7396, which PATCH keeps to
)

// readBody returns a copy of a JSON body, or the refusal of one that is not
// there, not JSON by its type, or too large.
func readBody(ctx *fasthttp.RequestCtx) ([]byte, *problem) {
	header := &ctx.Request.Header
	mediaType, _, err := mime.ParseMediaType(string(header.ContentType()))
	if err != nil || mediaType != contentTypeJSON && mediaType != contentTypeMerge {
		if ctx.IsPatch() {
			ctx.Response.Header.Set("Accept-Patch", contentTypeJSON+", "+contentTypeMerge) // RFC 5789, 2.2
		}
		return nil, newProblem(fasthttp.StatusUnsupportedMediaType, codeMediaType,
			"the Content-Type must be "+contentTypeJSON)
	}
	stream, length := ctx.RequestBodyStream(), header.ContentLength()
	if stream == nil {
		length = len(ctx.Request.Body())
	}
	switch {
	case length < 0:
		// On the gateway's own listener chunks are the proxy's to decode.
		return nil, newProblem(fasthttp.StatusLengthRequired, codeLengthRequired, "a Content-Length is needed")
	case length > maxBody:
		return nil, newProblem(fasthttp.StatusRequestEntityTooLarge, codeBodyTooLarge,
			fmt.Sprintf("the body must not have more than %d bytes", maxBody))
	case stream == nil:
		return append([]byte(nil), ctx.Request.Body()...), nil
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(stream, body); err != nil {
		return nil, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest, "the body did not arrive whole")
	}
	return body, nil
}

// document is the members of a JSON object, of which those that are not asked for
// are problems, as is one that is there twice. It finds every problem rather than
// the first.
type document struct {
	values   map[string]*ast.Node
	problems []ConfigProblem
}

// errNoObject is the error of a body that is not one JSON object.
var errNoObject = errors.New("the body must be a JSON object")

// parseDocument reads an object that may have the given members.
func parseDocument(body []byte, members ...string) (*document, error) {
	// Not sonic's, which lets control characters in strings pass.
	if !json.Valid(body) {
		return nil, errNoObject
	}
	root := ast.NewRaw(string(body))
	if root.TypeSafe() != ast.V_OBJECT {
		return nil, errNoObject
	}
	d := &document{values: make(map[string]*ast.Node)}
	err := root.ForEach(func(at ast.Sequence, value *ast.Node) bool {
		name := *at.Key
		switch _, twice := d.values[name]; {
		case twice:
			d.problem(name, "is there twice")
		case !slices.Contains(members, name):
			d.problems = append(d.problems, ConfigProblem{Path: name, Message: "unknown member", Suggestion: suggestion(name, members)})
		}
		copied := *value
		d.values[name] = &copied
		return true
	})
	if err != nil {
		return nil, errNoObject
	}
	return d, nil
}

func (d *document) problem(path, message string) {
	d.problems = append(d.problems, ConfigProblem{Path: path, Message: message})
}

func (d *document) has(name string) bool { return d.values[name] != nil }

// word returns a member that is one of a list of words, empty if it is not there.
func (d *document) word(name string, words ...string) string {
	if !d.has(name) {
		return ""
	}
	value, err := d.values[name].StrictString()
	if err == nil && slices.Contains(words, value) {
		return value
	}
	p := ConfigProblem{Path: name, Message: "must be one of " + strings.Join(words, ", ")}
	if err == nil {
		p.Suggestion = suggestion(value, words)
	}
	d.problems = append(d.problems, p)
	return ""
}

// parseEndpointChange reads the body of a PATCH of an endpoint.
func parseEndpointChange(body []byte) (EndpointChange, []ConfigProblem, error) {
	d, err := parseDocument(body, "mode", "weight")
	if err != nil {
		return EndpointChange{}, nil, err
	}
	change := EndpointChange{Mode: d.word("mode", ModeEnabled, ModeDrained, ModeDisabled)}
	if d.has("weight") {
		change.Weight, change.ResetWeight = d.weight("weight")
	}
	if len(d.values) == 0 {
		d.problem("", "needs mode, weight or both")
	}
	return change, d.problems, nil
}

// weight returns a member that is a weight, or that it is null.
func (d *document) weight(name string) (weight *int, null bool) {
	node := d.values[name]
	if node.TypeSafe() == ast.V_NULL {
		return nil, true
	}
	raw, err := node.Raw()
	if n, bad := strconv.Atoi(raw); err == nil && bad == nil && node.TypeSafe() == ast.V_NUMBER && n >= 0 && n <= MaxWeight {
		return &n, false
	}
	d.problem(name, fmt.Sprintf("must be a whole number from 0 to %d, or null for the configured weight", MaxWeight))
	return nil, false
}

// The actions on a circuit breaker.
const (
	actionOpen  = "open"
	actionClose = "close"
)

// parseBreakerChange reads the body of an order to a circuit breaker.
func parseBreakerChange(body []byte) (BreakerChange, []ConfigProblem, error) {
	d, err := parseDocument(body, "action", "for")
	if err != nil {
		return BreakerChange{}, nil, err
	}
	action := d.word("action", actionOpen, actionClose)
	if !d.has("action") {
		d.problem("action", "is required: open or close")
	}
	change := BreakerChange{Open: action == actionOpen}
	if d.has("for") {
		change.For = d.duration("for")
		if action == actionClose {
			d.problem("for", "has no effect with action close")
		}
	}
	return change, d.problems, nil
}

// duration returns a member that is a positive duration.
func (d *document) duration(name string) time.Duration {
	text, err := d.values[name].StrictString()
	if value, bad := time.ParseDuration(text); err == nil && bad == nil && value > 0 {
		return value
	}
	d.problem(name, "must be a positive duration such as 30s")
	return 0
}
