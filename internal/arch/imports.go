package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Graph maps a package to the packages that it imports outside its tests, by the names that Rule patterns use.
type Graph map[string][]string

// Check returns one line per violation of rules in g, sorted.
func Check(g Graph, rules []Rule) []string {
	var violations []string
	for _, rule := range rules {
		for pkg := range g {
			if !matchesAny(rule.Of, pkg) || matchesAny(rule.But, pkg) {
				continue
			}
			if chain := g.path(pkg, rule.Never); chain != nil {
				violations = append(violations, fmt.Sprintf("%s must not reach %s: %s", strings.Join(chain, " -> "), chain[len(chain)-1], rule.Reason))
			}
			if rule.Only == nil {
				continue
			}
			for _, imported := range g[pkg] {
				if strings.HasPrefix(imported, "./") && !matchesAny(rule.Only, imported) {
					violations = append(violations, fmt.Sprintf("%s must not import %s: %s", pkg, imported, rule.Reason))
				}
			}
		}
	}
	slices.Sort(violations)
	return violations
}

// path returns the shortest chain of imports from a package to one that matches targets, or nil. The package itself does not
// count, so that a rule over a tree does not forbid the tree to itself.
func (g Graph) path(from string, targets []string) []string {
	if len(targets) == 0 {
		return nil
	}
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		pkg := queue[0]
		for _, imported := range g[pkg] {
			if _, seen := before[imported]; seen {
				continue
			}
			before[imported] = pkg
			if matchesAny(targets, imported) {
				return chain(before, imported)
			}
			queue = append(queue, imported)
		}
	}
	return nil
}

func chain(before map[string]string, last string) []string {
	var steps []string
	for pkg := last; pkg != ""; pkg = before[pkg] {
		steps = append(steps, pkg)
	}
	slices.Reverse(steps)
	return steps
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		base, tree := strings.CutSuffix(pattern, "/...")
		return pkg == base || tree && strings.HasPrefix(pkg, base+"/")
	})
}
