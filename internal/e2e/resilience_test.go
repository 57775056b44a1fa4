package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
)

// The scenarios make servers fail, as processes and under load, and measure what
// clients notice. They run one after the other, because they measure.
func TestResilience(t *testing.T) {
	var table figuresTable
	defer table.log(t)
	for _, s := range []struct {
		name string
		run  func(*testing.T, *figuresTable)
	}{
		{"killed", killedServer},
		{"killed by default", killedServerByDefault},
		{"frozen", frozenServer},
		{"slow", slowServer},
		{"errors", errorBursts},
		{"observed", observedOutlier},
		{"flapping", flappingServer},
		{"panic", allUnhealthy},
		{"server breaker", serverBreaker},
		{"all broken", allBroken},
		{"upstream breaker", upstreamBreaker},
		{"adaptive", adaptiveConcurrency},
		{"sticky", stickySessions},
		{"sticky drain", stickyDrain},
		{"maglev", maglevKeys},
		{"priorities", priorities},
		{"slow start", slowStart},
		{"file discovery", fileDiscovery},
		{"dns discovery", dnsDiscovery},
		{"reloads", reloadedOptions},
		{"reloads while out", reloadedWhileOut},
		{"readiness", requiredUpstream},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(t, &table) })
	}
}

// scenarioFigures are what a scenario measured. The zero value of a time means that it
// does not apply, and a negative share too.
type scenarioFigures struct {
	scenario  string
	samples   testkit.Samples
	share     float64       // of the sick server, once it was noticed
	noticed   time.Duration // from the fault to the gateway's knowing
	recovered time.Duration // from the end of the fault to the first answer of the server
	note      string
}

// none stands for a share that does not apply.
const none = -1

// figuresTable collects the figures of all scenarios.
type figuresTable struct {
	mu   sync.Mutex
	rows []scenarioFigures
}

func (f *figuresTable) add(t *testing.T, row scenarioFigures) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = append(f.rows, row)
	t.Log("\n" + figuresHead + row.String())
}

func (f *figuresTable) log(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n" + figuresHead)
	for _, row := range f.rows {
		b.WriteString(row.String())
	}
	t.Log(b.String())
}

const figuresHead = `| Scenario | Requests | Lost | p99 | Longest | Share of the sick server | Noticed after | Back after | |
|---|---|---|---|---|---|---|---|---|
`

func (f scenarioFigures) String() string {
	share := "–"
	if f.share >= 0 {
		share = fmt.Sprintf("%.1f %%", 100*f.share)
	}
	return fmt.Sprintf("| %s | %d | %d | %s | %s | %s | %s | %s | %s |\n", f.scenario, len(f.samples), len(f.samples.Lost()),
		millis(f.samples.Percentile(99)), millis(f.samples.Percentile(100)), share, millis(f.noticed), millis(f.recovered), f.note)
}

func millis(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// wantNoneLost fails when a client was left without its answer.
func wantNoneLost(t *testing.T, s testkit.Samples) {
	t.Helper()
	if lost := s.Lost(); len(lost) > 0 {
		t.Errorf("%d of %d requests lost, want none: %v; the first after %v", len(lost), len(s), lost.Outcomes(), lost[0].At)
	}
}

// wantShare fails when an instance's share of samples is not within bounds.
func wantShare(t *testing.T, s testkit.Samples, instance string, least, most float64) {
	t.Helper()
	if got := s.Share(instance); got < least || got > most {
		t.Errorf("%s has %.1f %% of %d requests, want %.0f to %.0f %%", instance, 100*got, len(s), 100*least, 100*most)
	}
}

// wantWithin fails when a time is not positive or exceeds a bound.
func wantWithin(t *testing.T, what string, got, most time.Duration) {
	t.Helper()
	if got < 0 || got > most {
		t.Errorf("%s took %v, want at most %v", what, got, most)
	}
}
