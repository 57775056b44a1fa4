package proxy

import (
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// TestReleasedExchangeKeepsNothing looks at every exchange after its request:
// only buffers are left, and those empty.
func TestReleasedExchangeKeepsNothing(t *testing.T) {
	s, pool := poolSite(t)
	c := s.dial()
	for _, request := range everyKind {
		c.send(request)
		c.response()
	}
	_ = c.Close()
	s.settle(1)
	if len(*pool) == 0 {
		t.Fatal("no exchange was made")
	}
	may := map[string]bool{"arena": true, "head": true, "pathBuf": true}
	for _, x := range *pool {
		x.client, x.peer = fresh.client, fresh.peer // plain values, set anew for each request, as are these
		x.start, x.sent, x.awaited = fresh.start, fresh.sent, fresh.awaited
		v := reflect.ValueOf(x).Elem()
		for i := range v.NumField() {
			name, f := v.Type().Field(i).Name, v.Field(i)
			switch {
			case may[name]:
				if f.Len() != 0 {
					t.Errorf("%s has %d bytes left", name, f.Len())
				}
			case name == "fields":
				for _, e := range x.fields.list[:cap(x.fields.list)] {
					if e.name != nil || e.value != nil {
						t.Errorf("field %q is kept", e.name)
					}
				}
			case name == "body":
				if len(x.body.buf) != 0 || x.body.stream != nil || x.body.length != 0 || x.body.read != 0 || x.body.begun {
					t.Errorf("body is kept: %d bytes", len(x.body.buf))
				}
			case name == "params":
				if x.params.Len() != 0 {
					t.Error("parameters are kept")
				}
			case name == "server": // the same for every request of the pool
			case !f.IsZero():
				t.Errorf("%s is kept", name)
			}
		}
	}
}

var fresh Exchange

// TestPoison overwrites the buffers of released exchanges before fasthttp sends
// the response, and between requests. What still used them would send poison.
func TestPoison(t *testing.T) {
	s, _ := poolSite(t)
	c := s.dial()
	for range 3 {
		for _, request := range everyKind {
			c.send(request)
			status, h, body := c.response()
			head := h.String()
			if strings.Contains(head+body, poison) {
				t.Errorf("%.40q: got %d %s %.80q", request, status, head, body)
			}
		}
	}
	_ = c.Close()
	s.settle(1)
	for _, e := range s.taken() {
		if strings.Contains(e.requestID+e.path, poison) {
			t.Errorf("recorded %s %s", e.requestID, e.path)
		}
	}
}

const poison = "\xdd\xdd"

func poisonAll(pool []*Exchange) {
	for _, x := range pool {
		if x.Ctx != nil { // in use
			continue
		}
		for _, b := range [][]byte{x.arena, x.head, x.pathBuf, x.body.buf} {
			b = b[:cap(b)]
			for i := range b {
				b[i] = poison[0]
			}
		}
	}
}

// everyKind has a request for each way in which a response is made.
var everyKind = func() []string {
	const h = " HTTP/1.1\r\nHost: H.example\r\nOrigin: https://a.example\r\nX-In: in\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
	return []string{
		"GET /u/small%7e?q=%41" + h + "\r\n",
		"GET /u/chunked" + h + "\r\n",
		"GET /u/stream" + h + "\r\n",
		"GET /u/large" + h + "\r\n",
		"POST /u/small" + h + "Content-Length: 5\r\n\r\nhello",
		"POST /u/small" + h + "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000),
		"POST /u/small" + h + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"OPTIONS /u/x" + h + "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-a\r\n\r\n",
		"GET /u/bad" + h + "\r\n",
		"GET /to/7?a=1" + h + "\r\n",
		"GET /fixed" + h + "\r\n",
		"GET /none" + h + "\r\n",
		"GET " + endPath + h + "\r\n",
	}
}()

// poolSite is a site that lists the exchanges it makes, and poisons those that
// are free before a request and when its handler returns.
func poolSite(t *testing.T) (*site, *[]*Exchange) {
	t.Helper()
	b := newBackend(t, func(p *peer) {
		for {
			request, ok := p.request()
			if !ok {
				return
			}
			if strings.Contains(request, poison) {
				t.Errorf("the upstream saw poison: %.200q", request)
			}
			switch path, _, _ := strings.Cut(strings.TrimPrefix(request, "GET /u/"), " "); path {
			case "chunked":
				p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
			case "stream":
				p.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")
			case "large":
				p.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000))
			case "bad":
				p.write("HTTP/1.1 2x0\r\n\r\n")
			default:
				p.reply("small")
			}
		}
	})
	s := prepareSite(t, `
		upstream u $1
		forward x-forwarded forwarded via
		route u /u/{x} upstream=u template=/u/${param.x}
		request u set X-All "${request_id} ${host} ${path} ${header.X-In}"
		response u set X-All "${request_id} ${host} ${path} ${query} ${header.X-In}"
		cors u origins=https://a.example headers=* methods=GET
		route to /to/{x}
		redirect to 301 host=new.example path=/items/${param.x}
		route fixed /fixed
		respond fixed 200 text/plain hello
		response fixed set X-All "${request_id} ${host}"`, b.url)
	pool := new([]*Exchange)
	s.proxy.pool.New = func() any {
		x := new(Exchange)
		*pool = append(*pool, x)
		return x
	}
	// On the connection's own goroutine, of which there is one at a time.
	s.handler = func(ctx *fasthttp.RequestCtx) {
		poisonAll(*pool)
		s.proxy.Handle(ctx)
		poisonAll(*pool)
	}
	s.serve()
	return s, pool
}
