package admin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// The overall states of a health report.
const (
	healthOK       = "ok"
	healthDegraded = "degraded" // something is not as it should be
	healthDown     = "down"     // something that is required is down
)

// report is the health of everything that the gateway depends on.
type report struct {
	Status       string       `json:"status"`
	Dependencies []Dependency `json:"dependencies"`
}

func (h *handler) ready(ctx *fasthttp.RequestCtx) {
	if p := notReady(h.runtime.Status()); p != nil {
		h.writeProblem(ctx, p)
		return
	}
	h.writeDocument(ctx, state{"ready"})
}

// notReady says why the gateway takes no traffic, nil if it does.
func notReady(s Status) *problem {
	p := newProblem(fasthttp.StatusServiceUnavailable, codeNotReady, "")
	switch {
	case s.Draining:
		p.Detail = "the gateway is draining"
	case len(s.NotReady) > 0:
		p.Detail = "1 required dependency is missing"
		if n := len(s.NotReady); n > 1 {
			p.Detail = strconv.Itoa(n) + " required dependencies are missing"
		}
	case !s.Ready:
		p.Detail = "the gateway is starting"
	default:
		return nil
	}
	p.Reasons = s.NotReady
	return p
}

// dependencies reports the health of what the gateway depends on. It answers 200
// whatever that is, since it is a report, unless readiness is asked for.
func (h *handler) dependencies(ctx *fasthttp.RequestCtx) {
	f, err := parseFilter(ctx.QueryArgs())
	if err != nil {
		h.writeProblem(ctx, newProblem(fasthttp.StatusBadRequest, codeInvalidRequest, err.Error()))
		return
	}
	if f.ready {
		if p := notReady(h.runtime.Status()); p != nil {
			h.writeProblem(ctx, p)
			return
		}
	}
	all := slices.Clone(h.runtime.Dependencies())
	slices.SortStableFunc(all, func(a, b Dependency) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	status := overall(all)
	h.writeDocument(ctx, report{status, slices.DeleteFunc(all, func(d Dependency) bool { return !f.keeps(&d) })})
}

// overall is the worst that the dependencies say. One that is not required and
// has not been tried says nothing.
func overall(all []Dependency) string {
	status := healthOK
	for i := range all {
		switch d := &all[i]; {
		case d.Required && d.State == DependencyDown:
			return healthDown
		case d.State == DependencyDown, d.State == DependencyDegraded, d.Required && d.State != DependencyUp:
			status = healthDegraded
		}
	}
	return status
}

// filter chooses dependencies: those of any of the kinds and any of the states.
// An empty list is all.
type filter struct {
	kinds, states []string
	ready         bool
}

func (f *filter) keeps(d *Dependency) bool {
	return (len(f.kinds) == 0 || slices.Contains(f.kinds, d.Kind)) &&
		(len(f.states) == 0 || slices.Contains(f.states, d.State))
}

// parseFilter reads the query of a health report. Kinds are not checked: which
// there are depends on the configuration.
func parseFilter(query *fasthttp.Args) (filter, error) {
	states := []string{DependencyUp, DependencyDegraded, DependencyDown, DependencyUnknown}
	var f filter
	for key, raw := range query.All() {
		value := string(raw)
		switch string(key) {
		case "kind":
			f.kinds = append(f.kinds, value)
		case "state":
			if !slices.Contains(states, value) {
				return filter{}, fmt.Errorf("state: must be one of %s", strings.Join(states, ", "))
			}
			f.states = append(f.states, value)
		case "require":
			if value != "ready" {
				return filter{}, errors.New("require: must be ready")
			}
			f.ready = true
		default:
			return filter{}, fmt.Errorf("unknown parameter %q", key)
		}
	}
	return f, nil
}
