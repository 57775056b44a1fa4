// Command limiter measures what one decision of a rate limiter costs: Velocity's, and
// those that Go programs use most, in one run and on the same keys, with a limit that
// never refuses. It prints a table in Markdown. It belongs to the module of the
// benchmarks so that none of the others becomes a dependency of Velocity.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

const (
	keys = 1 << 20
	// limit is per second. The others count in floats, or in whole ns per unit.
	limit = 1_000_000_000
)

// rival is a limiter under test.
type rival struct {
	name string
	// build returns a source of functions that decide about one request for the nth
	// key, one function per goroutine, and is told how many keys there will be.
	build func(keys int) func() func(n uint64) bool
	// global says that the limiter has no keys.
	global bool
}

// workload is one column of the table.
type workload struct {
	name     string
	keys     int
	parallel bool
}

func main() {
	workloads := []workload{
		{"one key", 1, false},
		{"one key, all cores", 1, true},
		{"a million keys", keys, false},
		{"a million keys, all cores", keys, true},
	}
	fmt.Printf("%s, %d cores, %s/%s; ns per decision, allocations, and the ratio to the first line\n\n", runtime.Version(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH)
	fmt.Print("| limiter |")
	for _, w := range workloads {
		fmt.Printf(" %s |", w.name)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(workloads)))
	ours := make([]float64, len(workloads))
	for _, r := range rivals() {
		fmt.Printf("| %s |", r.name)
		for i, w := range workloads {
			if r.global && w.keys > 1 {
				fmt.Print(" – |")
				continue
			}
			result, refused := measure(r, w)
			ns := float64(result.T.Nanoseconds()) / float64(result.N)
			if ours[i] == 0 {
				ours[i] = ns
			}
			fmt.Printf(" %.1f, %d allocs, %.1f× |", ns, result.AllocsPerOp(), ns/ours[i])
			if refused > 0 {
				fmt.Fprintf(os.Stderr, "%s, %s: %d of %d decisions were not admissions\n", r.name, w.name, refused, result.N)
			}
		}
		fmt.Println()
	}
}

// measure runs one limiter on one workload, after every key has been seen once.
func measure(r rival, w workload) (testing.BenchmarkResult, int64) {
	open := r.build(w.keys)
	warm := open()
	for n := range uint64(w.keys) {
		warm(n)
	}
	runtime.GC()
	var refused, starts atomic.Int64
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		refused.Store(0)
		run := func(next func() bool) {
			allow, missed := open(), int64(0)
			for n := uint64(starts.Add(1)) << 20; next(); n += 7919 {
				if !allow(n % uint64(w.keys)) {
					missed++
				}
			}
			refused.Add(missed)
		}
		if w.parallel {
			b.RunParallel(func(pb *testing.PB) { run(pb.Next) })
			return
		}
		left := b.N
		run(func() bool { left--; return left >= 0 })
	})
	return result, refused.Load()
}
