package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// netProber sends probes over the network, each over a connection of its own: a
// kept one would not notice that the endpoint accepts no more.
type netProber struct{}

func (netProber) Probe(ctx context.Context, probe Probe, target Target) error {
	base, err := address(probe, target)
	if err != nil {
		return err
	}
	var exchange func(net.Conn) error
	protocol := "" // offered in a TLS handshake; none for TCP
	switch probe.Kind {
	case HTTP:
		request, err := newRequest(probe, base)
		if err != nil {
			return err
		}
		protocol = "http/1.1"
		exchange = func(conn net.Conn) error { return exchangeHTTP(conn, request, probe) }
	case TCP:
		exchange = func(conn net.Conn) error { return exchangeTCP(conn, probe) }
	case GRPC:
		protocol = "h2"
		exchange = func(conn net.Conn) error { return exchangeGRPC(ctx, conn, base, probe) }
	default:
		return fmt.Errorf("unknown kind of probe %d", probe.Kind)
	}
	return connected(ctx, base, target, protocol, exchange)
}

// address returns where a probe goes: the host without anything but a scheme and
// a port around it.
func address(probe Probe, target Target) (*url.URL, error) {
	text := target.URL
	if target.ProbeURL != "" {
		text = target.ProbeURL
	}
	base, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse target: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("unsupported scheme %q", base.Scheme)
	}
	if probe.Port > 0 {
		base.Host = net.JoinHostPort(base.Hostname(), strconv.Itoa(probe.Port))
	}
	return base, nil
}

// connected calls exchange with a connection on which nothing waits longer than
// the context, and closes it.
func connected(ctx context.Context, base *url.URL, target Target, protocol string, exchange func(net.Conn) error) error {
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
	if base.Scheme != "https" {
		return exchange(conn)
	}
	secure := tls.Client(conn, tlsConfig(target.TLS, base.Hostname(), protocol))
	// The deadline ends this, too; HandshakeContext would take another goroutine.
	if err := secure.Handshake(); err != nil {
		return fmt.Errorf("tls handshake: %w", err)
	}
	if protocol == "h2" && secure.ConnectionState().NegotiatedProtocol != "h2" {
		return errors.New("tls handshake: the endpoint does not offer HTTP/2")
	}
	return exchange(secure)
}

func dial(ctx context.Context, base *url.URL) (net.Conn, error) {
	port := base.Port()
	switch {
	case port != "":
	case base.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(base.Hostname(), port))
}

func tlsConfig(config *tls.Config, host, protocol string) *tls.Config {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = nil
	if protocol != "" {
		config.NextProtos = []string{protocol}
	}
	return config
}
