package limiter

import (
	"fmt"
	"math/big"
	"slices"
	"time"
)

// model is a rule written down as naively as possible, with numbers that cannot
// overflow or round. left has no side effects, so that a test may ask about any time.
type model interface {
	left(at Instant) int64
	take(at Instant, n int64)
}

// newModel returns the model of a rule that counts from start.
func newModel(r Rule, start Instant) model {
	switch r.Algorithm {
	case TokenBucket:
		return &bucketModel{rule: r, level: new(big.Rat).SetInt64(r.burst())}
	case GCRA:
		return &gcraModel{rule: r, tat: new(big.Rat)}
	case SlidingWindow:
		return &slidingModel{fixedModel{rule: r, start: start, taken: map[string]int64{}}}
	case SlidingLog:
		return &logModel{rule: r}
	case FixedWindow:
		return &fixedModel{rule: r, start: start, taken: map[string]int64{}}
	case Concurrency:
		return &heldModel{rule: r}
	}
	panic("BUG: no model of " + r.Algorithm)
}

func rat(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// floor is the largest whole number that is not above x.
func floor(x *big.Rat) int64 {
	return new(big.Int).Div(x.Num(), x.Denom()).Int64()
}

// bucketModel is a bucket of tokens with fractions.
type bucketModel struct {
	rule  Rule
	level *big.Rat
	last  int64
}

func (m *bucketModel) at(now int64) *big.Rat {
	if m.rule.Limit == 0 {
		return rat(0)
	}
	flow := new(big.Rat).Mul(rat(max(0, now-m.last)), big.NewRat(m.rule.Limit, int64(m.rule.Window)))
	level := new(big.Rat).Add(m.level, flow)
	if full := rat(m.rule.burst()); level.Cmp(full) > 0 {
		return full
	}
	return level
}

func (m *bucketModel) left(at Instant) int64 { return floor(m.at(at.Mono)) }

func (m *bucketModel) take(at Instant, n int64) {
	m.level = new(big.Rat).Sub(m.at(at.Mono), rat(n))
	m.last = max(m.last, at.Mono)
}

// gcraModel is the generic cell rate algorithm as in ITU-T I.371, with the
// theoretical arrival time kept as a fraction.
type gcraModel struct {
	rule Rule
	tat  *big.Rat
}

func (m *gcraModel) interval() *big.Rat { return big.NewRat(int64(m.rule.Window), m.rule.Limit) }

func (m *gcraModel) ahead(now int64) *big.Rat {
	if ahead := new(big.Rat).Sub(m.tat, rat(now)); ahead.Sign() > 0 {
		return ahead
	}
	return rat(0)
}

func (m *gcraModel) left(at Instant) int64 {
	if m.rule.Limit == 0 {
		return 0
	}
	tolerance := new(big.Rat).Mul(m.interval(), rat(m.rule.burst()))
	free := tolerance.Sub(tolerance, m.ahead(at.Mono))
	return floor(free.Quo(free, m.interval()))
}

func (m *gcraModel) take(at Instant, n int64) {
	if m.rule.Limit == 0 {
		return
	}
	m.tat = new(big.Rat).Add(rat(at.Mono), m.ahead(at.Mono))
	m.tat.Add(m.tat, new(big.Rat).Mul(m.interval(), rat(n)))
}

// fixedModel counts by the name of a window.
type fixedModel struct {
	rule  Rule
	start Instant
	taken map[string]int64
}

// window is the number of a window, and the time since it began.
func (m *fixedModel) window(mono int64) (number, since int64) {
	t := mono - m.start.Mono + m.start.Wall
	return t / int64(m.rule.Window), t % int64(m.rule.Window)
}

func (m *fixedModel) name(at Instant, back int64) string {
	location := m.rule.Location
	if location == nil {
		location = time.UTC
	}
	switch m.rule.Period {
	case Day:
		return time.Unix(0, at.Wall).In(location).Format("2006-01-02")
	case Month:
		return time.Unix(0, at.Wall).In(location).Format("2006-01")
	}
	number, _ := m.window(at.Mono)
	return fmt.Sprint(number - back)
}

func (m *fixedModel) left(at Instant) int64 { return m.rule.Limit - m.taken[m.name(at, 0)] }

func (m *fixedModel) take(at Instant, n int64) {
	if m.rule.Limit > 0 {
		m.taken[m.name(at, 0)] += n
	}
}

// slidingModel weighs the previous window.
type slidingModel struct{ fixedModel }

func (m *slidingModel) left(at Instant) int64 {
	_, since := m.window(at.Mono)
	whole := int64(m.rule.Window)
	weight := new(big.Rat).Mul(rat(m.taken[m.name(at, 1)]), big.NewRat(whole-since, whole))
	left := new(big.Rat).Sub(rat(m.rule.Limit-m.taken[m.name(at, 0)]), weight)
	return floor(left)
}

// logModel remembers everything.
type logModel struct {
	rule  Rule
	taken []int64
}

func (m *logModel) left(at Instant) int64 {
	n := m.rule.Limit
	for _, t := range m.taken {
		if at.Mono-t < int64(m.rule.Window) {
			n--
		}
	}
	return n
}

// take remembers as much as the limiter promises to.
func (m *logModel) take(at Instant, n int64) {
	for range min(n, m.rule.Limit) {
		m.taken = append(m.taken, at.Mono)
	}
	if extra := len(m.taken) - int(m.rule.Limit); extra > 0 {
		m.taken = slices.Clone(m.taken[extra:])
	}
}

// heldModel counts what is held.
type heldModel struct {
	rule Rule
	held int64
}

func (m *heldModel) left(Instant) int64 { return m.rule.Limit - m.held }

func (m *heldModel) take(_ Instant, n int64) {
	if m.rule.Limit > 0 {
		m.held += n
	}
}
