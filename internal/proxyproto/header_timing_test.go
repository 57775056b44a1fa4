package proxyproto

import "testing"

func BenchmarkParse(b *testing.B) {
	for name, header := range map[string]string{
		"v1/TCP4":          "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
		"v1/TCP6":          "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
		"v2/TCP4":          v2(0x21, 0x11, tcp4Addresses),
		"v2/TCP6":          v2(0x21, 0x21, tcp6Addresses),
		"v2/TCP4/checksum": string(addressed("192.168.0.1:56324", "192.168.0.11:443").AppendV2(nil, true)),
	} {
		b.Run(name, func(b *testing.B) {
			buffer := []byte(header + "GET / HTTP/1.1\r\n")
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Parse(buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	h := addressed("192.168.0.1:56324", "192.168.0.11:443")
	dst := make([]byte, 0, MaxHeader)
	b.Run("v1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.AppendV1(dst)
		}
	})
	b.Run("v2", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.AppendV2(dst, false)
		}
	})
	b.Run("v2/checksum", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.AppendV2(dst, true)
		}
	})
}
