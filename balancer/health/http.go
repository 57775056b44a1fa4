package health

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
)

const (
	userAgent      = "velocity-health"
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 64 << 10
)

func newRequest(probe Probe, base *url.URL) (*http.Request, error) {
	request, err := http.NewRequest(probe.Method, base.Scheme+"://"+base.Host+probe.Path, nil)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	addHeaders(request, probe)
	request.Close = true
	return request, nil
}

func addHeaders(request *http.Request, probe Probe) {
	for _, header := range probe.Headers {
		request.Header.Add(header[0], header[1])
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", userAgent)
	}
	if probe.Host != "" {
		request.Host = probe.Host
	}
}

// exchangeHTTP sends one HTTP/1.1 request and judges the answer. It follows no
// redirect and reads at most maxBodyBytes of the body.
//
// It does not use http.Transport, whose dialling and TLS handshake go on after
// the request's context has ended: endpoints that swallow packets would gather
// goroutines without bound.
func exchangeHTTP(conn net.Conn, request *http.Request, probe Probe) error {
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
	return judgeBody(response.Body, probe)
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
