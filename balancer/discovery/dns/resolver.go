package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
)

// maxChain is how many CNAMEs are followed from answer to answer.
const maxChain = 8

// resolver asks recursive servers.
type resolver struct {
	servers  []string
	timeout  time.Duration
	attempts int
	first    int // who answered last is asked first: a dead server costs its timeout once per refresh
}

// resolve returns the answer to a question, and answers to others that came with it.
func (r *resolver) resolve(ctx context.Context, q question) (answer, map[question]answer, error) {
	asked, limit := q, time.Duration(1<<63-1)
	for range maxChain {
		reply, err := r.exchange(ctx, asked)
		if err != nil {
			return answer{}, nil, err
		}
		a, last, done := read(reply, asked)
		a.ttl = min(a.ttl, limit)
		if done {
			return a, glue(reply, a.services), nil
		}
		asked.name, limit = last, a.ttl
	}
	return answer{}, nil, fmt.Errorf("resolve %s: more than %d CNAMEs", q.name, maxChain)
}

// exchange asks the servers by turns until one answers.
func (r *resolver) exchange(ctx context.Context, q question) (*wire.Msg, error) {
	last := errNoServer
	for range r.attempts {
		start := r.first
		for i := range r.servers {
			at := (start + i) % len(r.servers)
			reply, err := query(ctx, r.servers[at], q, r.timeout)
			if err == nil {
				r.first = at
				return reply, nil
			}
			last = fmt.Errorf("ask %s for %s of %s: %w", r.servers[at], wire.TypeToString[q.qtype], q.name, err)
			if ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// read finds the records of a question in a reply, along the CNAMEs in it. It is
// not done if the chain leads to a name that the reply says nothing about.
func read(reply *wire.Msg, q question) (a answer, last string, done bool) {
	limit := time.Duration(1<<63 - 1)
	last = q.name
	for i := 0; ; i++ {
		if i > len(reply.Answer) {
			return answer{ttl: limit}, last, false // in circles: no answer, however often it is asked for
		}
		a = collect(reply.Answer, question{last, q.qtype})
		if len(a.addrs) > 0 || len(a.services) > 0 {
			a.ttl = min(a.ttl, limit)
			return a, last, true
		}
		alias := find(reply.Answer, last)
		if alias == nil {
			break
		}
		limit = min(limit, ttl(alias.Hdr))
		last = wire.CanonicalName(alias.Target)
	}
	negative, hold := denial(reply)
	missing := reply.Rcode == wire.RcodeNameError
	if last != q.name && !missing && !negative {
		return answer{ttl: limit}, last, false
	}
	return answer{missing: missing, ttl: min(hold, limit)}, last, true
}

// collect gathers the records of a question.
func collect(records []wire.RR, q question) answer {
	a := answer{ttl: time.Duration(1<<63 - 1)}
	for _, rr := range records {
		h := rr.Header()
		if h.Rrtype != q.qtype || h.Class != wire.ClassINET || wire.CanonicalName(h.Name) != q.name {
			continue
		}
		switch rr := rr.(type) {
		case *wire.A:
			if ip, ok := netip.AddrFromSlice(rr.A); ok {
				a.addrs = append(a.addrs, ip.Unmap())
			}
		case *wire.AAAA:
			if ip, ok := netip.AddrFromSlice(rr.AAAA); ok {
				a.addrs = append(a.addrs, ip)
			}
		case *wire.SRV:
			a.services = append(a.services, *rr)
		default:
			continue
		}
		a.ttl = min(a.ttl, ttl(*h))
	}
	return a
}

// find returns the CNAME of a name.
func find(records []wire.RR, name string) *wire.CNAME {
	for _, rr := range records {
		if alias, ok := rr.(*wire.CNAME); ok && wire.CanonicalName(alias.Hdr.Name) == name {
			return alias
		}
	}
	return nil
}

// denial returns whether the authority section says that there is nothing, and
// how long that holds: the lesser of the SOA's TTL and minimum (RFC 2308 section 5).
func denial(reply *wire.Msg) (negative bool, hold time.Duration) {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*wire.SOA); ok {
			return true, min(ttl(soa.Hdr), time.Duration(soa.Minttl)*time.Second)
		}
	}
	return false, 0
}

// glue are the addresses of the services' hosts that came along. Others that came
// along are nobody's business.
func glue(reply *wire.Msg, services []wire.SRV) map[question]answer {
	if len(services) == 0 {
		return nil
	}
	answers := make(map[question]answer)
	for _, service := range services {
		for _, qtype := range []uint16{wire.TypeA, wire.TypeAAAA} {
			q := question{wire.CanonicalName(service.Target), qtype}
			if _, known := answers[q]; known {
				continue
			}
			if a := collect(reply.Extra, q); len(a.addrs) > 0 {
				answers[q] = a
			}
		}
	}
	return answers
}

// ttl is that of a record; one with the highest bit set counts as 0 (RFC 2181
// section 8).
func ttl(h wire.RR_Header) time.Duration {
	if h.Ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(h.Ttl) * time.Second
}

var (
	errLame     = errors.New("server refers to others")
	errNoServer = errors.New("no server to ask")
)

// usable reports what makes a reply no answer.
func usable(reply *wire.Msg) error {
	switch {
	case reply.Rcode == wire.RcodeNameError:
		return nil
	case reply.Rcode != wire.RcodeSuccess:
		return fmt.Errorf("answered %s", rcodeName(reply.Rcode))
	case len(reply.Answer) > 0 || reply.Authoritative || reply.RecursionAvailable:
		return nil
	}
	return errLame
}

func rcodeName(rcode int) string {
	if name, ok := wire.RcodeToString[rcode]; ok {
		return name
	}
	return fmt.Sprintf("code %d", rcode)
}
