// Package dns discovers targets by the addresses (A, AAAA) or services (SRV,
// RFC 2782) of a name, and asks again when the answers expire.
//
// It owns asking: the servers of resolv.conf(5) or of the settings, search
// domains, hosts(5), UDP with EDNS and TCP for what does not fit, CNAME chains,
// and how long an answer holds, positive or negative (RFC 2308). It is no cache
// for others and no validator: it trusts the servers that it is told to ask.
//
// The standard library's resolver answers without TTLs, without saying whether
// "no such host" is an answer or a failure, and without the addresses that come
// along with services; all three decide here.
package dns
