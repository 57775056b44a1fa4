// Package arch guards the shape of the code base. It owns the import rules, each with its reason, and the checks for
// package comments, names and a few constructs that the house rules exclude. It does not own style: that is the linter's.
// Nothing imports it; its tests are its use.
package arch
