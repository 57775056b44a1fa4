package gateway

import (
	"math"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/internal/config"
)

// TestMemoryWatch takes looks one interval apart and says what each must do.
func TestMemoryWatch(t *testing.T) {
	var now memorySample
	shed, collected := false, 0
	var reported [2]uint64
	w := &memoryWatch{
		log: zap.NewNop(), shed: func(on bool) { shed = on }, sample: func() memorySample { return now },
		report: func(used, limit uint64, _ bool) { reported = [2]uint64{used, limit} }, collect: func() { collected++ },
		resting: func() int { return 0 },
	}
	clock := time.Unix(0, 0)
	look := func(live, stacks, cycles uint64, wantShed bool, wantCollected int) {
		t.Helper()
		clock = clock.Add(300 * time.Millisecond)
		now = memorySample{live, stacks, cycles}
		w.look(clock)
		if shed != wantShed || collected != wantCollected {
			t.Errorf("refuses %v after %d collections, want %v after %d", shed, collected, wantShed, wantCollected)
		}
		if reported[0] != live+stacks {
			t.Errorf("reported %v", reported)
		}
	}
	look(1<<40, 0, 1, false, 0) // no limit
	w.setLimit(1000)
	look(849, 0, 1, false, 0)
	look(800, 50, 2, true, 0)
	look(800, 0, 3, true, 0) // between the two thresholds
	look(800, 0, 3, true, 0)
	look(800, 0, 3, true, 0)
	look(800, 0, 3, true, 1) // nothing has collected for a second
	look(800, 0, 3, true, 1)
	look(800, 0, 9, true, 1) // the runtime has
	look(800, 0, 9, true, 1)
	look(800, 0, 9, true, 2)
	look(740, 5, 10, false, 2)
	look(800, 0, 10, false, 2)
	look(850, 0, 10, true, 2)
	w.setLimit(0)
	look(850, 0, 10, false, 2)
}

// TestMemoryRelease has connections come to rest and wake up again.
func TestMemoryRelease(t *testing.T) {
	resting, released := 0, 0
	w := &memoryWatch{
		log: zap.NewNop(), sample: func() memorySample { return memorySample{} }, report: func(uint64, uint64, bool) {},
		resting: func() int { return resting }, release: func() { released++ },
	}
	clock := time.Unix(0, 0)
	look := func(after time.Duration, n, want int) {
		t.Helper()
		clock = clock.Add(after)
		resting = n
		if w.look(clock); released != want {
			t.Errorf("%d at rest: released %d times, want %d", n, released, want)
		}
	}
	look(0, releaseAfter-1, 0)
	look(0, releaseAfter, 1)
	look(time.Second, 3*releaseAfter, 1) // too soon
	look(releasePause, 3*releaseAfter, 2)
	look(releasePause, 3*releaseAfter, 2) // no more than then
	look(releasePause, releaseAfter, 2)
	look(releasePause, 2*releaseAfter-1, 2)
	look(releasePause, 2*releaseAfter, 3)
}

func TestReadMemory(t *testing.T) {
	if s := readMemory(); s.stacks == 0 || s.stacks > 1<<40 || s.live > 1<<40 {
		t.Errorf("%+v", s)
	}
}

func TestMemoryLimit(t *testing.T) {
	const none, gib = int64(math.MaxInt64), int64(1 << 30)
	f := func(text string, whole int64, want uint64) {
		t.Helper()
		c := loadText(t, "server: {memory_limit: "+text+"}")
		if got := memoryLimit(c.Server.MemoryLimit, whole); got != want {
			t.Errorf("%s of %d: %d, want %d", text, whole, got, want)
		}
	}
	f("0", none, 0)
	f("0", 1000, 900)
	f("80%", none, 0)
	f("80%", 1000, 800)
	f("100%", 1000, 1000)
	f("2GiB", none, 2<<30)
	f("2GiB", gib, 2<<30)
}

func loadText(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("gateway.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGroupLimit(t *testing.T) {
	f := func(name string, want int64, files ...string) {
		t.Helper()
		root := fstest.MapFS{}
		for i := 0; i < len(files); i += 2 {
			root[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
		}
		if got := groupLimit(root); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	const none = math.MaxInt64
	const self = "proc/self/cgroup"
	f("no control groups", none)
	f("version 2 in a container", 1000, self, "0::/\n", "sys/fs/cgroup/memory.max", "1000\n")
	f("version 2 without a limit", none, self, "0::/\n", "sys/fs/cgroup/memory.max", "max\n")
	f("version 2, a group above has less", 500, self, "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "1000\n", "sys/fs/cgroup/a/memory.max", "500\n")
	f("version 2, the path is the host's", 700, self, "0::/../../host\n", "sys/fs/cgroup/memory.max", "700\n")
	f("version 1", 300, self, "12:cpu,cpuacct:/x\n4:memory:/docker/1\n", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "300\n")
	f("version 1 in a container", 300, self, "4:memory:/docker/1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "300\n")
	f("both", 300, self, "4:memory:/\n0::/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "300\n", "sys/fs/cgroup/memory.max", "max\n")
	f("not what it should be", none, self, "nonsense\n0::/\n", "sys/fs/cgroup/memory.max", "many\n")
}
