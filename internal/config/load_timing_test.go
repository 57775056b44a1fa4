package config

import (
	"fmt"
	"strings"
	"testing"
)

// manyRoutes returns a document with n routes of the usual kind.
func manyRoutes(n int) []byte {
	var b strings.Builder
	b.WriteString("routes:\n")
	for i := range n {
		fmt.Fprintf(&b, `  - name: route-%d
    hosts: [api%d.example.com]
    path: /api/v%d/users/{id}
    methods: [GET, POST]
    targets: [{url: "http://127.0.0.1:%d", weight: 100}]
    headers:
      request: {set: {X-Client: "${client_ip}"}}
`, i, i%100, i, 3000+i%100)
	}
	return []byte(b.String())
}

func BenchmarkParse10000Routes(b *testing.B) {
	data := manyRoutes(10_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("bench.yaml", data, nil); err != nil {
			b.Fatal(err)
		}
	}
}
