package gateway

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerOf returns the process at the other end of a Unix socket, and an error
// unless it belongs to this process's user or to root.
func peerOf(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if outer := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); outer != nil {
		err = outer
	}
	if err != nil {
		return 0, fmt.Errorf("ask who is at the other end: %w", err)
	}
	if uid := int(cred.Uid); uid != os.Geteuid() && uid != 0 {
		return 0, fmt.Errorf("process %d belongs to user %d", cred.Pid, uid)
	}
	return int(cred.Pid), nil
}
