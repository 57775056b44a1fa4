package gateway

import "golang.org/x/sys/unix"

// asideNice is how much the work of a reload yields to requests, as nice(1).
const asideNice = 5

// yieldToOthers makes the system prefer other threads to the calling one. If it
// cannot, the work is merely less considerate.
func yieldToOthers() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), asideNice) }
