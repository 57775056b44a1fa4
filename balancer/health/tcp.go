package health

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
)

// exchangeTCP sends and expects the probe's bytes, if any. Without them it is
// enough that the endpoint accepted the connection and, with TLS, shook hands.
func exchangeTCP(conn net.Conn, probe Probe) error {
	if probe.Send != "" {
		if _, err := io.WriteString(conn, probe.Send); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	if probe.Receive == "" {
		return nil
	}
	want := []byte(probe.Receive)
	var got []byte
	block := make([]byte, 4<<10)
	for {
		n, err := conn.Read(block)
		// What was searched before is not searched again, but for what may be
		// the beginning of what is expected.
		from := max(0, len(got)-len(want)+1)
		got = append(got, block[:n]...)
		switch {
		case bytes.Contains(got[from:], want):
			return nil
		case errors.Is(err, io.EOF) || len(got) >= maxBodyBytes:
			return fmt.Errorf("answer does not contain %s: %s", shown(probe.Receive), shown(string(got)))
		case err != nil:
			return fmt.Errorf("read answer: %w", err)
		}
	}
}
