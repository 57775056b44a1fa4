package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// admit decides whether a request may go on, and returns the refusal if not.
//
// Paths are compared as they were sent, as the router does it, so that no
// spelling of a path is one thing here and another there. Whatever is not
// listed as open needs credentials, also a path that does not exist.
func (h *handler) admit(ctx *fasthttp.RequestCtx) *problem {
	path := string(ctx.URI().PathOriginal())
	if path == healthPath || path == readyPath {
		return nil // probes carry nothing, and learn no more than names of what is required
	}
	if refusal := h.admitBrowser(ctx); refusal != nil {
		return refusal
	}
	if h.options.MetricsEnabled && h.options.Loopback && path == h.options.MetricsPath {
		return nil
	}
	if h.options.Pprof && strings.HasPrefix(path, pprofPath) && !h.hasCredentials() {
		return newProblem(fasthttp.StatusForbidden, codeCredentialsNotSet,
			"profiles are served only when a token or client certificates are configured")
	}
	if h.options.ClientCertificates && !hasVerifiedCertificate(ctx) {
		return newProblem(fasthttp.StatusForbidden, codeCertificate,
			"a verified client certificate is needed")
	}
	if h.hasToken {
		return h.admitToken(ctx)
	}
	return nil
}

func (h *handler) hasCredentials() bool { return h.hasToken || h.options.ClientCertificates }

// admitBrowser refuses what a web page can make the operator's browser send: a
// request from another origin, or, by pointing a name of its own at 127.0.0.1,
// one that looks like the same origin.
func (h *handler) admitBrowser(ctx *fasthttp.RequestCtx) *problem {
	if h.options.Loopback && !h.hasCredentials() && !isLoopbackHost(string(ctx.Host())) {
		return newProblem(fasthttp.StatusForbidden, codeHostRefused,
			"without a token only localhost and loopback addresses are accepted as the Host")
	}
	site := ctx.Request.Header.Peek("Sec-Fetch-Site")
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	if crossSite := len(site) > 0 && string(site) != "same-origin" && string(site) != "none"; crossSite ||
		len(origin) > 0 && !isSameOrigin(string(origin), string(ctx.Host())) {
		return newProblem(fasthttp.StatusForbidden, codeOriginRefused,
			"requests from the pages of another origin are not accepted")
	}
	return nil
}

// isLoopbackHost reports whether a Host header names this machine and cannot be
// made to name another.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// isSameOrigin compares an Origin with the host that was asked. The schemes may
// differ: TLS can end in front of the listener.
func isSameOrigin(origin, host string) bool {
	_, authority, ok := strings.Cut(origin, "://")
	return ok && strings.EqualFold(authority, host)
}

func hasVerifiedCertificate(ctx *fasthttp.RequestCtx) bool {
	state := ctx.TLSConnectionState()
	return state != nil && len(state.VerifiedChains) > 0
}

// admitToken checks the bearer token (RFC 6750).
func (h *handler) admitToken(ctx *fasthttp.RequestCtx) *problem {
	header := &ctx.Response.Header
	scheme, token, ok := strings.Cut(string(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization)), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		header.Set(fasthttp.HeaderWWWAuthenticate, `Bearer realm="velocity admin"`)
		return newProblem(fasthttp.StatusUnauthorized, codeTokenMissing,
			"an Authorization header with a bearer token is needed")
	}
	peer := peerOf(ctx)
	if wait := h.failures.blocked(peer); wait > 0 {
		seconds := strconv.Itoa(int(wait.Seconds()) + 1)
		header.Set(fasthttp.HeaderRetryAfter, seconds)
		return newProblem(fasthttp.StatusTooManyRequests, codeTooManyFailures,
			fmt.Sprintf("too many wrong tokens from this address; try again in %s seconds", seconds))
	}
	// Digests have one length, so the comparison tells nothing about the token's.
	digest := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	if subtle.ConstantTimeCompare(digest[:], h.token[:]) == 1 {
		return nil
	}
	h.failures.add(peer)
	h.log.Warn("management token refused",
		zap.Stringer("peer", peer), zap.ByteString("path", ctx.Path()))
	header.Set(fasthttp.HeaderWWWAuthenticate, `Bearer realm="velocity admin", error="invalid_token"`)
	return newProblem(fasthttp.StatusUnauthorized, codeTokenInvalid, "the bearer token is not valid")
}

// peerOf returns the address that failures are counted for. One IPv6 host
// commands at least a /64, so that is what counts as one peer. A connection
// without an IP address counts as the zero Addr.
func peerOf(ctx *fasthttp.RequestCtx) netip.Addr {
	tcp, ok := ctx.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return address
}
