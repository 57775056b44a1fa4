package proxy

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pendingBytes returns how many bytes a socket has that were not read yet.
func pendingBytes(raw syscall.RawConn) (n int) {
	_ = raw.Control(func(fd uintptr) { // fails only when closed: nothing waits
		n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	})
	return n
}
