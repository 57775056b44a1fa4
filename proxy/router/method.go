package router

import (
	"math/bits"
	"slices"
	"strings"
)

// standardMethods have a fixed place in a methodSet, the most frequent first.
var standardMethods = [...]string{
	"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT",
}

// methodSet has a bit for each method that any route of a table lists. The last
// bit stands for all methods that none lists.
type methodSet uint64

const (
	anyMethod     methodSet = 1<<64 - 1
	unknownMethod methodSet = 1 << 63
	getMethod     methodSet = 1 << 0
	headMethod    methodSet = 1 << 5
)

// maxExtraMethods is how many methods beyond the standard ones fit in a set.
const maxExtraMethods = 63 - len(standardMethods)

// methodNames gives methods their bits. Extra methods follow the standard ones.
type methodNames struct{ extra []string }

// of returns the set with only that method.
func (n *methodNames) of(method []byte) methodSet {
	for i := range standardMethods {
		if string(method) == standardMethods[i] {
			return 1 << i
		}
	}
	for i, m := range n.extra {
		if string(method) == m {
			return 1 << (len(standardMethods) + i)
		}
	}
	return unknownMethod
}

// add makes room for a method. It reports whether there was any.
func (n *methodNames) add(method string) bool {
	if slices.Contains(standardMethods[:], method) || slices.Contains(n.extra, method) {
		return true
	}
	if len(n.extra) == maxExtraMethods {
		return false
	}
	n.extra = append(n.extra, method)
	return true
}

// listed returns the set of the methods a route lists: those that are written,
// and those it serves, in which GET includes HEAD.
func (n *methodNames) listed(methods []string) (written, served methodSet) {
	if len(methods) == 0 {
		return anyMethod, anyMethod
	}
	for _, m := range methods {
		written |= n.of([]byte(m))
	}
	if written&getMethod != 0 {
		return written, written | headMethod
	}
	return written, written
}

// join names the methods of a set in alphabetical order, as in an Allow field.
func (n *methodNames) join(set methodSet) string {
	if set == anyMethod {
		return "any method"
	}
	var names []string
	for ; set != 0; set &= set - 1 {
		if i := bits.TrailingZeros64(uint64(set)); i < len(standardMethods) {
			names = append(names, standardMethods[i])
		} else {
			names = append(names, n.extra[i-len(standardMethods)])
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
