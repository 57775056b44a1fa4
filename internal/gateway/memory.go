package gateway

import (
	"io/fs"
	"math"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/salgue441/velocity/internal/config"
)

// The watch over memory. Requests are refused from shedAt percent of the limit
// on, since near to it the runtime would only collect garbage, and taken again
// below resumeAt percent, so that the state does not flutter.
const (
	memoryInterval = 100 * time.Millisecond
	shedAt         = 85
	resumeAt       = 75
	// gcPause is how often the watch collects garbage by itself while requests
	// are refused: without requests nothing else might, and the figures would
	// stay.
	gcPause = time.Second
	// Once releaseAfter more connections rest than before, the memory that
	// served them goes back to the system: pools keep it until the second
	// collection, and without requests there may be none for minutes.
	releaseAfter = 1000
	releasePause = 3 * time.Second
)

// memoryWatch compares what the process needs with a limit and says when
// requests must be refused. Garbage does not count: the runtime collects it in
// time, since the limit is also its own.
type memoryWatch struct {
	log     *zap.Logger
	shed    func(on bool)                           // told of every change
	report  func(used, limit uint64, shedding bool) // told of every look
	sample  func() memorySample
	collect func()
	resting func() int // connections at rest
	release func()     // gives memory back to the system

	mu       sync.Mutex
	limit    uint64 // zero for none
	shedding bool
	since    time.Time // when requests began to be refused
	cycles   uint64    // collections at the last look
	forced   time.Time // when the watch collected last
	rested   int       // connections at rest when memory was given back, or fewer since
	released time.Time
}

// memorySample is what one look finds.
type memorySample struct {
	live   uint64 // heap that the last collection found in use
	stacks uint64
	cycles uint64 // collections so far
}

func (s memorySample) used() uint64 { return s.live + s.stacks }

// readMemory takes a sample, which stops nothing.
func readMemory() memorySample {
	samples := [...]metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples[:])
	return memorySample{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
}

// setLimit changes the limit, in bytes; zero means none.
func (w *memoryWatch) setLimit(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = n
}

// run looks until stop is closed.
func (w *memoryWatch) run(stop <-chan struct{}) {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			w.look(now)
		}
	}
}

// look takes one sample and acts on it.
func (w *memoryWatch) look(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sample()
	switch used := s.used(); {
	case w.shedding && (w.limit == 0 || used < w.limit/100*resumeAt):
		w.shedding = false
		w.shed(false)
		w.log.Info("memory: taking requests again",
			zap.Uint64("used", used), zap.Uint64("limit", w.limit), zap.Duration("after", now.Sub(w.since)))
	case !w.shedding && w.limit > 0 && used >= w.limit/100*shedAt:
		w.shedding, w.since, w.forced = true, now, now
		w.shed(true)
		w.log.Warn("memory: near the limit, refusing requests", zap.Uint64("used", used), zap.Uint64("limit", w.limit))
	case w.shedding && s.cycles == w.cycles && now.Sub(w.forced) >= gcPause:
		w.forced = now
		w.collect()
	}
	w.cycles = s.cycles
	if n := w.resting(); n < w.rested {
		w.rested = n
	} else if n >= w.rested+releaseAfter && now.Sub(w.released) >= releasePause {
		w.rested, w.released = n, now
		w.release()
	}
	w.report(s.used(), w.limit, w.shedding)
}

// memoryLimit is what server.memory_limit amounts to, in bytes, zero for none.
// whole is what a share is of: the limit of the runtime (GOMEMLIMIT) or of the
// control group, whichever is less; math.MaxInt64 stands for neither.
func memoryLimit(m config.MemoryLimit, whole int64) uint64 {
	percent, isShare := m.Percent()
	switch {
	case !isShare && m != 0:
		return uint64(m)
	case whole == math.MaxInt64:
		return 0
	case !isShare:
		percent = defaultMemoryShare
	}
	return uint64(whole) / 100 * uint64(percent)
}

// defaultMemoryShare is the share of the control group's memory, in percent,
// that the gateway allows itself when nothing is configured.
const defaultMemoryShare = 90

// groupLimit is the memory limit of the process's control group or the nearest
// one above it, in bytes, math.MaxInt64 for none. root is the root of the file
// system. It knows version 2 and version 1 of control groups.
func groupLimit(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return limit // not Linux
	}
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "":
		case strings.Contains(","+parts[1]+",", ",memory,"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's and not be there; then the
		// mount itself is the group.
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			text, err := fs.ReadFile(root, path.Join(mount, dir, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				limit = min(limit, n)
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

// setMemoryLimit applies a configuration's limit to the watch and to the
// runtime, which then collects garbage in time to stay below it. GOMEMLIMIT, if
// lower, stays.
func (g *Gateway) setMemoryLimit(m config.MemoryLimit) {
	limit := memoryLimit(m, min(g.runtimeLimit, g.groupLimit))
	g.memory.setLimit(limit)
	runtimeLimit := g.runtimeLimit
	if limit > 0 && limit < math.MaxInt64 {
		runtimeLimit = min(runtimeLimit, int64(limit))
	}
	debug.SetMemoryLimit(runtimeLimit)
}

func (g *Gateway) newMemoryWatch() *memoryWatch {
	return &memoryWatch{
		log: g.log, shed: g.proxy.Shed, report: g.metrics.SetMemory, sample: readMemory, collect: runtime.GC,
		resting: g.door.atRest,
		release: func() {
			runtime.GC() // what pools had becomes garbage with the next
			debug.FreeOSMemory()
		},
	}
}
