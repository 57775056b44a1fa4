//go:build !race

package chunked

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestReadAllocatesNothing(t *testing.T) {
	const text = "5;a=\"b\"\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\nCookie: a\r\n\r\n"
	src := strings.NewReader(text)
	br := bufio.NewReader(src)
	var r Reader
	p := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		src.Reset(text)
		br.Reset(src)
		r.Reset(br)
		for {
			if _, err := r.Read(p); err == io.EOF {
				return
			} else if err != nil {
				t.Error(err)
				return
			}
		}
	}); n != 0 {
		t.Errorf("a body costs %v allocations", n)
	}
}
