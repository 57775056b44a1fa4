package proxyproto

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, test := range acceptedHeaders(f) {
		f.Add([]byte(test.header))
		f.Add([]byte(test.header + "GET / HTTP/1.1\r\n"))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte(v2(0x21, 0x11, tcp4Addresses+"\x03\x00\x04abcd\x03\x00\x04abcd")))
	f.Add([]byte(v2(0x21, 0x11, tcp4Addresses+"\x04\x00")))
	f.Add([]byte("PROXY TCP6 ::1%lo ::1 1 2\r\n"))

	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if n < 0 || n > len(b) || n > MaxHeader || (n == 0) != (err != nil) {
			t.Fatalf("%d of %d bytes, error %v", n, len(b), err)
		}
		if err == ErrIncomplete && len(b) >= MaxHeader {
			t.Fatalf("still incomplete at %d bytes", len(b))
		}
		if bad := Error(""); err != nil && !errors.As(err, &bad) {
			t.Fatalf("error %v is no Error", err)
		}

		// A prefix is incomplete or says the same; once it has said something, more bytes do not change it.
		said := false
		for i := range min(len(b), MaxHeader) {
			got, size, prefixErr := Parse(b[:i])
			if prefixErr == ErrIncomplete {
				if said || err == nil && i >= n {
					t.Fatalf("%d of %d bytes are incomplete again", i, len(b))
				}
				continue
			}
			said = true
			if prefixErr != err || size != n || got.Source != h.Source || got.Destination != h.Destination || got.Local != h.Local || !bytes.Equal(got.TLVs, h.TLVs) {
				t.Fatalf("%d bytes: %+v, %d, %v; all: %+v, %d, %v", i, got, size, prefixErr, h, n, err)
			}
		}

		if err != nil {
			return
		}
		if h.Local == h.Source.IsValid() || h.Local == h.Destination.IsValid() {
			t.Fatalf("header %+v names addresses and is Local, or neither", h)
		}
		if !h.Local && (h.Source.Addr().Is4In6() || h.Source.Addr().Zone() != "" || h.Destination.Addr().Is4In6() || h.Destination.Addr().Zone() != "") {
			t.Fatalf("header %+v has a mapped address or a zone", h)
		}
		for _, written := range [][]byte{h.AppendV1(nil), h.AppendV2(nil, false), h.AppendV2(nil, true)} {
			again, size, err := Parse(written)
			if err != nil || size != len(written) || again.Local != h.Local || again.Source != h.Source || again.Destination != h.Destination {
				t.Fatalf("%+v was written as %q, which is %+v, %d bytes, error %v", h, written, again, size, err)
			}
		}
	})
}
