//go:build !linux

package upstream

import "golang.org/x/sys/unix"

// peek looks at a socket without waiting and without taking what is there.
func peek(fd uintptr, b *[1]byte) state {
	n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN:
		return idle
	case err == nil && n == 1:
		return readable
	}
	return closed
}
