package testkit

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyMain runs a package's tests and fails when goroutines are left over.
// Those that fasthttp starts once and never ends, or ends only some seconds
// after the last use, do not count.
func VerifyMain(m *testing.M) { goleak.VerifyTestMain(m, leakOptions()...) }

// VerifyNone fails a test that has left goroutines behind. Those that run when
// it is called do not count; the check is made after the test's own clean-up
// that was registered later.
func VerifyNone(tb testing.TB) {
	tb.Helper()
	options := append(leakOptions(), goleak.IgnoreCurrent())
	tb.Cleanup(func() { goleak.VerifyNone(tb, options...) })
}

func leakOptions() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*TCPDialer).tcpAddrsClean"),
	}
}
