package proxy

import "github.com/salgue441/velocity/proxy/upstream"

// watcher is the exchange as upstream.Conn.Await sees it: while nothing comes
// from the endpoint, it tells whether the client still waits.
type watcher Exchange

// Gone implements upstream.Watcher.
func (w *watcher) Gone() bool { return upstream.Gone(w.Ctx.Conn()) }
