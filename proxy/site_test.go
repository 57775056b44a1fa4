package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/salgue441/velocity/balancer"
	"github.com/salgue441/velocity/internal/telemetry"
	"github.com/salgue441/velocity/proxy/router"
	"github.com/salgue441/velocity/proxy/transform"
	"github.com/salgue441/velocity/proxy/upstream"
)

// patience bounds what a test waits for: longer than anything takes, even on a
// busy machine.
const patience = 20 * time.Second

// endPath is answered by every site itself, with a status that nothing else
// has. A client that asks for it last learns whether the connection lived.
const endPath = "/-end-"

// site is a gateway under test: a fasthttp server with the settings of the
// real one, in front of a proxy.Server with a snapshot made from text.
type site struct {
	t         testing.TB
	proxy     *Server
	snapshot  *Snapshot
	registry  *telemetry.Registry
	upstreams map[string]*upstream.Upstream
	routes    map[string]*Route
	address   string
	ended     chan struct{} // one for each connection that ended
	panics    []string
	causes    chan error // why replies were not well-formed

	noServerLimits bool                    // the server has no time limits of its own
	handler        fasthttp.RequestHandler // instead of the proxy's

	mu     sync.Mutex
	events []event
}

// event is a telemetry.Event that outlives its request.
type event struct {
	telemetry.Event
	requestID, path string
}

// Record keeps a copy of an event: the site is its own sink.
func (s *site) Record(e *telemetry.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event{Event: *e, requestID: string(e.RequestID), path: string(e.Path)})
}

// newSite starts a gateway. $1, $2, … in the text stand for the targets.
func newSite(t testing.TB, text string, targets ...string) *site {
	t.Helper()
	s := prepareSite(t, text, targets...)
	s.serve()
	return s
}

// prepareSite builds the gateway without its server.
func prepareSite(t testing.TB, text string, targets ...string) *site {
	t.Helper()
	s := &site{
		t:         t,
		registry:  telemetry.NewRegistry("test"),
		upstreams: map[string]*upstream.Upstream{},
		routes:    map[string]*Route{},
		ended:     make(chan struct{}, 64),
		causes:    make(chan error, 64),
	}
	s.snapshot = &Snapshot{
		RequestIDHeader: "X-Request-Id",
		NoRoute:         s.registry.Route(telemetry.NoRoute),
		Sinks:           []telemetry.Sink{s},
		Local: func(x *Exchange) bool {
			if string(x.Path) != endPath {
				return false
			}
			x.RespondText(299, "end")
			return true
		},
	}
	s.proxy = NewServer(s.registry.Gateway(), func(recovered any, id string) {
		s.panics = append(s.panics, fmt.Sprint(recovered, " in ", id))
	})
	s.proxy.NotifyEnded(s.connEnded)
	for i, target := range targets {
		text = strings.ReplaceAll(text, "$"+strconv.Itoa(i+1), target)
	}
	s.build(text)
	s.proxy.Swap(s.snapshot)
	return s
}

// newServer has the settings of internal/gateway.
func (s *site) newServer() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.proxy.Handle,
		ErrorHandler:                 s.proxy.HandleReadError,
		ExpectHandler:                s.proxy.Expect,
		HeaderReceived:               s.proxy.HeaderReceived,
		ReadTimeout:                  30 * time.Second,
		WriteTimeout:                 30 * time.Second,
		ReadBufferSize:               16 << 10,
		WriteBufferSize:              4 << 10,
		MaxRequestBodySize:           1 << 30,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		Logger:                       silent{},
		ConnState: func(c net.Conn, state fasthttp.ConnState) {
			if state == fasthttp.StateClosed { // of those in StateHijacked the proxy tells
				s.proxy.ConnClosed(c)
				s.connEnded(c)
			}
		},
	}
}

func (s *site) connEnded(net.Conn) {
	select {
	case s.ended <- struct{}{}:
	default: // a test that opens that many does not count them
	}
}

func (s *site) serve() {
	s.t.Helper()
	ln := listen(s.t)
	s.address = ln.Addr().String()
	server := s.newServer()
	if s.handler != nil {
		server.Handler = s.handler
	}
	if s.noServerLimits {
		server.ReadTimeout, server.WriteTimeout = 0, 0
	}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(ln) }) // ends with the listener
	s.t.Cleanup(func() {
		_ = ln.Close()
		served.Wait()
	})
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// build reads the directives of a site, one a line:
//
//	trust CIDR…                   trusted proxies
//	forward KIND…                 x-forwarded, forwarded, via
//	keep-id                       keep the client's request ID
//	limits read=D write=D         the snapshot's time limits
//	hygiene max=N uri=N underscores=reject
//	upstream NAME TARGET… max=N wait=D connect=D no-keep-alive weights=N,N
//	      proxy-protocol=N
//	route NAME PATH methods=M,M host=… upstream=… to-host=… strip=… template=…
//	      pattern=… replace=… slashes=keep timeout=D reply=D max-body=N, and see
//	      retryPolicy and hedgePolicy
//	request ROUTE VERB NAME VALUE     header edit, VERB is set, add or remove
//	response ROUTE VERB NAME VALUE
//	cors ROUTE origins=O,O methods=M,M headers=H,H exposed=H,H max-age=D credentials private
//	redirect ROUTE CODE scheme=… host=… port=N path=… strip-query
//	respond ROUTE STATUS TYPE BODY
//
// A word may be a Go string.
func (s *site) build(text string) {
	s.t.Helper()
	var table router.Builder[*Route]
	phases := map[string][]Phase{}
	edits := map[string]map[string][]transform.Op{"request": {}, "response": {}}
	for line := range strings.Lines(text) {
		w := words(s.t, line)
		if len(w.list) == 0 {
			continue
		}
		switch verb := w.list[0]; verb {
		case "trust":
			for _, cidr := range w.list[1:] {
				s.snapshot.Trusted = append(s.snapshot.Trusted, netip.MustParsePrefix(cidr))
			}
		case "forward":
			s.snapshot.Forwarding = Forwarding{XForwarded: w.has("x-forwarded"), Forwarded: w.has("forwarded"), Via: w.has("via")}
		case "keep-id":
			s.snapshot.KeepRequestID = true
		case "limits":
			s.snapshot.ReadTimeout, s.snapshot.WriteTimeout = w.duration("read"), w.duration("write")
		case "hygiene":
			s.snapshot.MaxHeaders, s.snapshot.MaxURIBytes = w.int("max", 0), w.int("uri", 0)
			s.snapshot.Underscores = map[string]Underscores{"reject": RejectUnderscores, "keep": KeepUnderscores}[w.keys["underscores"]]
		case "upstream":
			s.addUpstream(w)
		case "route":
			r := s.newRoute(w)
			p := router.Pattern{Name: r.Name, Path: w.list[2], Methods: w.split("methods"), Hosts: w.split("host")}
			if err := table.Add(p, r); err != nil {
				s.t.Fatal(err)
			}
		case "request", "response":
			op := transform.Op{Verb: map[string]transform.Verb{"set": transform.Set, "add": transform.Add, "remove": transform.Remove}[w.list[2]], Name: w.list[3]}
			if len(w.list) > 4 {
				op.Value = w.list[4]
			}
			edits[verb][w.list[1]] = append(edits[verb][w.list[1]], op)
		case "cors":
			s.routes[w.list[1]].CORS = true
			phases[w.list[1]] = append(phases[w.list[1]], corsPhase(s.t, w))
		case "redirect":
			a := &Redirect{Code: w.int("", 2), Scheme: w.keys["scheme"], Host: w.keys["host"], Port: w.int("port", 0), StripQuery: w.has("strip-query")}
			if path, ok := w.keys["path"]; ok {
				a.Path = template(s.t, path)
			}
			s.routes[w.list[1]].Answer = a
		case "respond":
			s.routes[w.list[1]].Answer = &FixedResponse{Status: w.int("", 2), ContentType: w.list[3], Body: []byte(w.list[4])}
		default:
			s.t.Fatalf("unknown directive %q", line)
		}
	}
	for name, r := range s.routes {
		request, response := compile(s.t, edits["request"][name]), compile(s.t, edits["response"][name])
		if !request.Empty() || !response.Empty() {
			phases[name] = append(phases[name], NewHeaderPhase(request, response))
		}
		r.SetPhases(phases[name])
	}
	s.snapshot.Table, _ = table.Build()
}

func (s *site) addUpstream(w line) {
	s.t.Helper()
	settings := upstream.Settings{
		ConnectTimeout: w.duration("connect"), MaxConnections: w.int("max", 0), MaxWait: w.duration("wait"),
		DisableKeepAlive: w.has("no-keep-alive"), ProxyProtocol: w.int("proxy-protocol", 0),
	}
	weights := w.split("weights")
	var endpoints []*upstream.Endpoint
	for _, target := range w.list[2:] {
		if target == "no-keep-alive" {
			continue
		}
		weight := 1
		if i := len(endpoints); i < len(weights) {
			weight, _ = strconv.Atoi(weights[i])
		}
		e, err := upstream.NewEndpoint(target, balancer.NewEndpoint(weight, true), s.registry.Endpoint(w.list[1], target), settings)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(e.CloseIdle)
		endpoints = append(endpoints, e)
	}
	state, err := upstream.NewState(balancer.Settings{Algorithm: balancer.RoundRobin}, upstream.Members(endpoints...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	u := upstream.New(w.list[1])
	u.Set(state)
	s.upstreams[w.list[1]] = u
}

func (s *site) newRoute(w line) *Route {
	s.t.Helper()
	r := &Route{
		Name:               w.list[1],
		Metrics:            s.registry.Route(w.list[1]),
		Destination:        Destination{Upstream: s.upstreams[w.keys["upstream"]], ReplyTimeout: w.duration("reply")},
		KeepEncodedSlashes: w.keys["slashes"] == "keep",
		TargetHost:         w.keys["to-host"] == "target",
		Timeout:            w.duration("timeout"),
		MaxBodySize:        int64(w.int("max-body", 0)),
		Retry:              retryPolicy(w),
		Hedge:              hedgePolicy(w),
	}
	if h := w.keys["to-host"]; !r.TargetHost {
		r.UpstreamHost = []byte(h)
	}
	var err error
	r.Rewrite, err = transform.CompileRewrite(transform.RewriteSpec{
		StripPrefix: w.keys["strip"], Template: w.keys["template"], Pattern: w.keys["pattern"], Replacement: w.keys["replace"],
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.routes[r.Name] = r
	return r
}

func corsPhase(t testing.TB, w line) Phase {
	t.Helper()
	p, err := NewCORSPhase(CORSPolicy{
		Origins: w.split("origins"), Methods: w.split("methods"), Headers: w.split("headers"), Exposed: w.split("exposed"),
		Credentials: w.has("credentials"), MaxAge: w.duration("max-age"), PrivateNetwork: w.has("private"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func compile(t testing.TB, ops []transform.Op) transform.Program {
	t.Helper()
	p, err := transform.Compile(ops)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func template(t testing.TB, text string) *transform.Template {
	t.Helper()
	p, err := transform.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// line is a directive: words in order, and those of the form key=value.
type line struct {
	t    testing.TB
	list []string
	keys map[string]string
}

var wordForm = regexp.MustCompile(`^(?:([a-z-]+)=)?("(?:[^"\\]|\\.)*"|\S*)\s*`)

func words(t testing.TB, text string) line {
	t.Helper()
	w := line{t: t, keys: map[string]string{}}
	text = strings.TrimSpace(text)
	for text != "" && text[0] != '#' {
		m := wordForm.FindStringSubmatch(text)
		text = text[len(m[0]):]
		value := m[2]
		if strings.HasPrefix(value, `"`) {
			var err error
			if value, err = strconv.Unquote(value); err != nil {
				t.Fatalf("word %s: %v", m[2], err)
			}
		}
		if m[1] != "" {
			w.keys[m[1]] = value
		} else {
			w.list = append(w.list, value)
		}
	}
	return w
}

func (w line) has(word string) bool {
	for _, v := range w.list {
		if v == word {
			return true
		}
	}
	return false
}

func (w line) split(key string) []string {
	if w.keys[key] == "" {
		return nil
	}
	return strings.Split(w.keys[key], ",")
}

func (w line) duration(key string) time.Duration {
	w.t.Helper()
	if w.keys[key] == "" {
		return 0
	}
	d, err := time.ParseDuration(w.keys[key])
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// int reads a key or, without one, the word at a position.
func (w line) int(key string, at int) int {
	w.t.Helper()
	text := w.keys[key]
	if key == "" {
		text = w.list[at]
	} else if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// client is a connection to a site.
type client struct {
	*net.TCPConn
	t  testing.TB
	br *bufio.Reader
}

func (s *site) dial() *client {
	s.t.Helper()
	c := dial(s.t, s.address)
	return &client{t: s.t, TCPConn: c, br: bufio.NewReader(c)}
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// response reads one response with its body and returns them apart.
func (c *client) response() (status int, h *fasthttp.ResponseHeader, body string) {
	c.t.Helper()
	var resp fasthttp.Response
	if err := resp.Read(c.br); err != nil {
		c.t.Fatalf("read response: %v", err)
	}
	return resp.StatusCode(), &resp.Header, string(resp.Body())
}

// expect reads as many bytes as text has and compares.
func (c *client) expect(text string) {
	c.t.Helper()
	b := make([]byte, len(text))
	n, err := io.ReadFull(c.br, b)
	if err != nil || string(b) != text {
		c.t.Fatalf("read %q, %v; want %q", b[:n], err, text)
	}
}

// head reads up to an empty line.
func (c *client) head() string {
	c.t.Helper()
	var b bytes.Buffer
	for !bytes.HasSuffix(b.Bytes(), []byte("\r\n\r\n")) {
		part, err := c.br.ReadSlice('\n')
		b.Write(part)
		if err != nil {
			c.t.Fatalf("read header: %v after %q", err, b.String())
		}
	}
	return b.String()
}

// settle waits for n connections to end, and checks that nothing is counted as
// under way any more. Clients must have closed theirs.
func (s *site) settle(n int) {
	s.t.Helper()
	for range n {
		select {
		case <-s.ended:
		case <-time.After(patience):
			s.t.Fatal("a connection did not end")
		}
	}
	s.checkNothingInFlight()
}

func (s *site) checkNothingInFlight() {
	s.t.Helper()
	for name, u := range s.upstreams {
		if n := u.State().InFlight(); n != 0 {
			s.t.Errorf("upstream %s has %d attempts in flight after the end", name, n)
		}
		if u.BeginRetry(0, 1) {
			u.EndRetry()
		} else {
			s.t.Errorf("upstream %s has retries in flight after the end", name)
		}
	}
	for line := range strings.Lines(s.metrics()) {
		if strings.Contains(line, "_in_flight{") && !strings.HasSuffix(line, "} 0\n") {
			s.t.Errorf("after the end: %s", strings.TrimSpace(line))
		}
	}
}

func (s *site) metrics() string {
	var b bytes.Buffer
	s.registry.WritePrometheus(&b)
	return b.String()
}

// taken returns the events so far.
func (s *site) taken() []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]event(nil), s.events...)
}
