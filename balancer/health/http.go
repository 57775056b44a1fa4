package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	userAgent      = "velocity-health"
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 64 << 10
)

// httpProber probes with one HTTP/1.1 request over a connection of its own: a
// kept one would not notice that the endpoint accepts no more. It follows no
// redirect and reads at most maxBodyBytes of the body.
//
// It does not use http.Transport, whose dialling and TLS handshake go on after
// the request's context has ended: endpoints that swallow packets would gather
// goroutines without bound.
type httpProber struct{}

func (httpProber) Probe(ctx context.Context, probe Probe, target Target) error {
	base, err := url.Parse(target.URL)
	if err != nil {
		return fmt.Errorf("parse target: %w", err)
	}
	request, err := newRequest(probe, base)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, base)
	if err != nil {
		return err
	}
	defer conn.Close()
	// From here on everything is reading and writing, which this cuts off.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if target.Preface != "" {
		if _, err := io.WriteString(conn, target.Preface); err != nil {
			return fmt.Errorf("send preface: %w", err)
		}
	}
	if base.Scheme == "https" {
		return exchange(tls.Client(conn, tlsConfig(target.TLS, base.Hostname())), request, probe)
	}
	return exchange(conn, request, probe)
}

func newRequest(probe Probe, base *url.URL) (*http.Request, error) {
	request, err := http.NewRequest(probe.Method, base.Scheme+"://"+base.Host+probe.Path, nil)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	for _, header := range probe.Headers {
		request.Header.Add(header[0], header[1])
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", userAgent)
	}
	if probe.Host != "" {
		request.Host = probe.Host
	}
	request.Close = true
	return request, nil
}

func dial(ctx context.Context, base *url.URL) (net.Conn, error) {
	port := base.Port()
	switch {
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("unsupported scheme %q", base.Scheme)
	case port != "":
	case base.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(base.Hostname(), port))
}

func tlsConfig(config *tls.Config, host string) *tls.Config {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = []string{"http/1.1"}
	return config
}

func exchange(conn net.Conn, request *http.Request, probe Probe) error {
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	limited := &io.LimitedReader{R: conn, N: maxHeaderBytes}
	response, err := readResponse( //nolint:bodyclose // reads from conn, which is closed
		bufio.NewReader(limited), request)
	if err != nil {
		if limited.N <= 0 {
			return errors.New("response header too large")
		}
		return fmt.Errorf("read response: %w", err)
	}
	if !probe.expects(response.StatusCode) {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	limited.N = math.MaxInt64 // the body's bound is counted without chunk framing
	if _, err := io.CopyN(io.Discard, response.Body, maxBodyBytes); err != nil && err != io.EOF {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

// readResponse skips interim responses (RFC 9110 section 15.2), but for 101,
// after which no other follows.
func readResponse(r *bufio.Reader, request *http.Request) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(r, request)
		if err != nil || response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, err
		}
	}
}
