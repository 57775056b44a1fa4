package testkit

import (
	"syscall"
	"testing"
	"unsafe" //nolint:depguard // prlimit has no wrapper
)

// LimitFiles bounds the file descriptors that a running process may have open.
func LimitFiles(tb testing.TB, pid int, n uint64) {
	tb.Helper()
	limit := syscall.Rlimit{Cur: n, Max: n}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_NOFILE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if errno != 0 {
		tb.Fatalf("limit file descriptors of process %d: %v", pid, errno)
	}
}
