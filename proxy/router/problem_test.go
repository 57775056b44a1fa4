package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestProblems(t *testing.T) {
	// want has lines such as "conflict b a": route b loses to route a.
	f := func(want []string, routes ...string) {
		t.Helper()
		var patterns []Pattern
		for _, line := range routes {
			patterns = append(patterns, parsePattern(t, strings.Fields(line)))
		}
		_, problems := build(t, patterns...)
		var got []string
		for _, p := range problems {
			kind := map[ProblemKind]string{Conflict: "conflict", Unreachable: "unreachable"}[p.Kind]
			loser, winner := patterns[p.Route].Name, patterns[p.Other].Name
			got = append(got, fmt.Sprintf("%s %s %s", kind, loser, winner))
			if !strings.Contains(p.Message, `"`+loser+`"`) || !strings.Contains(p.Message, `"`+winner+`"`) {
				t.Errorf("message does not name both routes: %s", p.Message)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", routes, got, want)
		}
	}
	conflict, unreachable := []string{"conflict b a"}, []string{"unreachable b a"}

	// The same match.
	f(conflict, "a path=/x", "b path=/x")
	f(conflict, "a", "b path=/*")
	f(conflict, "a path=/{x}", "b path=/{y}")
	f(conflict, "a path=/{x...}", "b path=/{y...}")
	f(conflict, "a path=/%7ex", "b path=/~x")
	f(conflict, "a path=~/x", "b path=~/x")
	f(conflict, "a host=h method=GET", "b host=H method=GET")
	f(conflict, "a method=GET", "b method=GET,HEAD")
	f(conflict, "a header=x-a:1 header=X-B:2", "b header=X-B:2 header=X-A:1")
	f(conflict, "a from=10.1.0.0/8", "b from=10.0.0.0/8")
	f(conflict, "a priority=1", "b priority=1")
	f([]string{"conflict b a", "conflict c a"}, "a path=/x", "b path=/x", "c path=/x")
	// The same on some hosts, or for some methods.
	f(conflict, "a host=h host=i", "b host=i host=j")
	f(conflict, "a host=h host=i", "b host=i host=h")
	f(conflict, "a method=GET,POST", "b method=POST,PUT")

	// Fewer methods than one that is defined before.
	f(unreachable, "a method=GET,POST", "b method=POST")
	f(unreachable, "a method=GET", "b method=HEAD")
	// Priority.
	f(unreachable, "a priority=1", "b path=/x")
	f(unreachable, "a path=/x priority=1", "b path=/x")
	f(unreachable, "a path=/x/* priority=1", "b path=/x")
	f(unreachable, "a path=/x/* priority=1", "b path=/x/y/{z}")
	f(unreachable, "a path=/x/* priority=1", "b path=/x/{r...}")
	f(unreachable, "a path=/{p}/y priority=1", "b path=/x/y")
	f(unreachable, "a path=/{p...} priority=1", "b path=/x/{y}/*")
	f(unreachable, "a priority=1", "b path=~/x")
	f(unreachable, "a path=~/x priority=1", "b path=~/x")
	f(unreachable, "a priority=1", "b host=x")
	f(unreachable, "a host=*.org priority=1", "b host=x.y.org")
	f(unreachable, "a host=*.org priority=1", "b host=*.y.org")
	f(unreachable, "a host=*.org priority=1", "b host=x.org host=y.org")
	f(unreachable, "a method=GET priority=1", "b method=HEAD header=X-A")
	f(unreachable, "a header=X-A priority=1", "b path=/x header=X-A")
	f([]string{"unreachable b a", "unreachable c a"}, "a priority=1", "b path=/x", "c path=/x header=X-A")

	// No problem.
	f(nil, "a", "b path=/x")
	f(nil, "b path=/x", "a")
	f(nil, "a path=/x", "b path=/x/")
	f(nil, "a path=/{x}", "b path=/*")
	f(nil, "a host=h", "b host=i")
	f(nil, "a host=*.h", "b host=h")
	f(nil, "a method=GET", "b method=POST")
	f(nil, "a method=GET", "b")
	f(nil, "a method=HEAD", "b method=GET")
	f(nil, "a header=X-A:1", "b header=X-A:2")
	f(nil, "a header=X-A:1", "b header=!X-A:1")
	f(nil, "a header=X-A:1", "b query=X-A:1")
	f(nil, "a header=X-A:1", "b header=X-A:^1")
	f(nil, "a path=~/x", "b path=~/y")
	f(nil, "a path=/x/{r...} priority=1", "b path=/x/*")
	f(nil, "a path=/x/{r...} priority=1", "b path=/x/")
	f(nil, "a path=/x/{r} priority=1", "b path=/x/*")
	f(nil, "a path=/x/{r} priority=1", "b path=/x/{r...}")
	f(nil, "a path=/x/y priority=1", "b path=/x/{r}")
	f(nil, "a host=*.org priority=1", "b host=org")
	f(nil, "a host=*.org priority=1", "b host=x.org host=x.com")
	f(nil, "a method=GET priority=1", "b")
	f(nil, "a header=X-A priority=1", "b path=/x")
}

// Problems must not cost the square of the number of routes, even where all of
// them are in one place.
func TestProblemsScale(t *testing.T) {
	const n = 10_000
	f := func(name string, pattern func(i int) Pattern, wantProblems int) {
		t.Helper()
		var b Builder[int]
		for i := range n {
			if err := b.Add(pattern(i), i); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		_, problems := b.Build()
		if len(problems) != wantProblems {
			t.Errorf("%s: got %d problems, want %d", name, len(problems), wantProblems)
		}
		// The square would take minutes.
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
	f("same", func(int) Pattern { return Pattern{Path: "/x"} }, n-1)
	f("same below a priority", func(i int) Pattern {
		if i == 0 {
			return Pattern{Priority: 1}
		}
		return Pattern{Path: "/x", Headers: []Matcher{{Name: "a"}}}
	}, n-1)
	f("own header", func(i int) Pattern {
		return Pattern{Path: "/x", Headers: []Matcher{{Name: "a", Value: fmt.Sprint(i)}}}
	}, 0)
	f("own priority", func(i int) Pattern { return Pattern{Path: "/x", Priority: i} }, n-1)
	f("own expression", func(i int) Pattern { return Pattern{Path: fmt.Sprintf("~/x%d", i)} }, 0)
}
