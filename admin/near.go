package admin

import (
	"cmp"
	"slices"
	"strings"
)

const (
	// maxCandidates is how many names an answer suggests.
	maxCandidates = 5
	// maxCompared is the longest name, in bytes, that is compared with others. A
	// longer one is no slip.
	maxCompared = 256
)

// nearest returns up to maxCandidates of the known names, the most similar to
// name first.
func nearest(name string, known []string) []string {
	if len(name) > maxCompared {
		return nil
	}
	distances := make(map[string]int, len(known))
	for _, k := range known {
		distances[k] = distance(strings.ToLower(name), strings.ToLower(k))
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(known)))
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(distances[a], distances[b]) })
	return sorted[:min(len(sorted), maxCandidates)]
}

// suggestion is the one of the known names that name is likely to have meant,
// empty if none is.
func suggestion(name string, known []string) string {
	near := nearest(name, known)
	if len(near) == 0 || distance(strings.ToLower(name), strings.ToLower(near[0])) > max(1, len(name)/3) {
		return ""
	}
	return near[0]
}

// distance counts the insertions, deletions and substitutions of bytes that turn
// a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substituted := diagonal
			if a[i] != b[j] {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(diagonal+1, row[j]+1, substituted)
		}
	}
	return row[len(b)]
}
