package gateway

import "runtime"

// aside runs f on a thread of its own, one that the system prefers others to,
// with a processor more for the scheduler meanwhile. Loading thousands of
// routes takes a tenth of a second and more; a goroutine among the others would
// keep a processor from requests for whole time slices of 10 ms. The thread
// ends with f, since only a privileged process could raise its priority again.
func aside(f func() error) error {
	done := make(chan error, 1)
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(procs + 1)
	defer runtime.GOMAXPROCS(procs)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		yieldToOthers()
		done <- f()
	}()
	return <-done
}
