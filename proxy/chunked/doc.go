// Package chunked reads the chunked transfer coding (RFC 9112 section 7.1) for
// both sides of the gateway, to the letter: what two readers could take for
// bodies of different length is an error. It owns the decoding and which fields
// may trail; who reads, and what an error means to a client, is the caller's.
package chunked
