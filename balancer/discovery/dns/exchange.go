package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	wire "github.com/miekg/dns"
)

// query asks one server: by UDP, without EDNS if the server does not know it, and
// by TCP if the answer does not fit.
func query(ctx context.Context, server string, q question, timeout time.Duration) (*wire.Msg, error) {
	m := new(wire.Msg)
	m.SetQuestion(q.name, q.qtype)
	m.SetEdns0(DefaultUDPSize, false)
	reply, err := exchangeOver(ctx, "udp", server, m, timeout)
	if err == nil && (reply.Rcode == wire.RcodeFormatError || reply.Rcode == wire.RcodeNotImplemented) {
		m.Extra = nil
		m.Id = wire.Id()
		reply, err = exchangeOver(ctx, "udp", server, m, timeout)
	}
	if err == nil && reply.Truncated {
		// What did fit is not the answer: a list that is cut off would look like
		// servers that have gone.
		m.Id = wire.Id()
		reply, err = exchangeOver(ctx, "tcp", server, m, timeout)
		if err == nil && reply.Truncated {
			err = errors.New("answer by TCP is truncated")
		}
	}
	if err == nil {
		err = usable(reply)
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// exchangeOver sends a message and waits for the reply to it.
func exchangeOver(ctx context.Context, network, server string, m *wire.Msg, timeout time.Duration) (*wire.Msg, error) {
	dialer := net.Dialer{Timeout: timeout}
	nc, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { nc.Close() })()

	conn := &wire.Conn{Conn: nc, UDPSize: DefaultUDPSize}
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		reply, err := conn.ReadMsg()
		// A record that was cut off makes a reply unreadable, but not that it was cut off.
		if (err == nil || reply != nil && reply.Truncated) && answers(reply, m) {
			return reply, nil
		}
		var failed net.Error
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("no answer within %v", timeout)
		case errors.As(err, &failed) || errors.Is(err, net.ErrClosed):
			return nil, err
		case network == "tcp" && err != nil:
			return nil, err
		case network == "tcp":
			return nil, errors.New("answer is to another question")
		}
		// A packet that is not the answer may be forged, or late: the answer may
		// still come.
	}
}

// answers reports whether a reply is one to this message (RFC 5452 section 9).
func answers(reply, m *wire.Msg) bool {
	if reply.Id != m.Id || !reply.Response || reply.Opcode != m.Opcode {
		return false
	}
	if len(reply.Question) == 0 {
		// Servers that could not make sense of the question need not repeat it.
		return reply.Rcode == wire.RcodeFormatError || reply.Rcode == wire.RcodeServerFailure ||
			reply.Rcode == wire.RcodeNotImplemented || reply.Rcode == wire.RcodeRefused
	}
	got, want := reply.Question[0], m.Question[0]
	return len(reply.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass &&
		wire.CanonicalName(got.Name) == wire.CanonicalName(want.Name)
}
