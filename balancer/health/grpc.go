package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	grpcPath        = "/grpc.health.v1.Health/Check"
	grpcContentType = "application/grpc"
)

// exchangeGRPC calls grpc.health.v1.Health/Check over HTTP/2 and judges the
// answer.
//
// The connection is handed to net/http as it is, TLS and all, which therefore
// neither dials nor shakes hands. Its goroutine for reading ends with the
// connection.
func exchangeGRPC(ctx context.Context, conn net.Conn, base *url.URL, probe Probe) error {
	request, err := newCheckRequest(ctx, base, probe)
	if err != nil {
		return err
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true) // with prior knowledge: no upgrade, no ALPN
	transport := &http.Transport{
		Protocols:              &protocols,
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	client, err := transport.NewClientConn(ctx, "http", "probed:80") // what it is called does not matter
	if err != nil {
		return fmt.Errorf("begin http/2: %w", err)
	}
	defer client.Close() //nolint:errcheck // nothing is left to be done about a failure
	response, err := client.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("call health check: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // as above
	return judgeCheck(response, probe.Service)
}

func newCheckRequest(ctx context.Context, base *url.URL, probe Probe) (*http.Request, error) {
	body := appendMessage(nil, appendCheckRequest(nil, probe.Service))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base.Scheme+"://"+base.Host+grpcPath, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	addHeaders(request, probe)
	request.Header.Set("Content-Type", grpcContentType)
	request.Header.Set("Te", "trailers")
	return request, nil
}

// judgeCheck looks at the call's status before the answer: with another status
// than OK there is none.
func judgeCheck(response *http.Response, service string) error {
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, grpcContentType) {
		return fmt.Errorf("content type %s is not gRPC", shown(kind))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	// A call without an answer may end in the header (gRPC over HTTP/2: Trailers-Only).
	trailer := response.Trailer
	if trailer.Get("Grpc-Status") == "" {
		trailer = response.Header
	}
	if err := callError(trailer.Get("Grpc-Status"), trailer.Get("Grpc-Message"), service); err != nil {
		return err
	}
	message, err := cutMessage(body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	status, err := servingStatus(message)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if status != serving {
		return errors.New(statusName(status))
	}
	return nil
}

// callError returns why a call failed, nil if it did not.
func callError(status, message, service string) error {
	code, err := strconv.ParseUint(status, 10, 32)
	switch {
	case status == "":
		return errors.New("answer without grpc-status")
	case err != nil:
		return fmt.Errorf("malformed grpc-status %s", shown(status))
	case code == 0:
		return nil
	case code == 5:
		return fmt.Errorf("grpc status NOT_FOUND: the endpoint does not know service %s", shown(service))
	case code == 12:
		return errors.New("grpc status UNIMPLEMENTED: the endpoint does not serve grpc.health.v1.Health")
	case message == "":
		return fmt.Errorf("grpc status %s", codeName(code))
	}
	if text, err := url.PathUnescape(message); err == nil {
		message = text
	}
	return fmt.Errorf("grpc status %s: %s", codeName(code), shown(message))
}

// codeName returns the name of a call's status.
func codeName(code uint64) string {
	names := [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
		"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
		"OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if code < uint64(len(names)) {
		return names[code]
	}
	return strconv.FormatUint(code, 10)
}
