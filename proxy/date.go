package proxy

import (
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// dateCache keeps the text of the current second for responses without a Date
// (RFC 9110 section 6.6.1). fasthttp's own would overwrite an upstream's.
type dateCache struct {
	current atomic.Pointer[dateText]
}

type dateText struct {
	second int64
	text   []byte
}

func (d *dateCache) set(h *fasthttp.ResponseHeader) {
	now := time.Now()
	t := d.current.Load()
	if t == nil || t.second != now.Unix() {
		t = &dateText{now.Unix(), fasthttp.AppendHTTPDate(nil, now)}
		d.current.Store(t)
	}
	h.SetCanonical(headerDate, t.text)
}
