//go:build !linux

package gateway

// yieldToOthers does nothing: other systems give threads no priority of their
// own in this way.
func yieldToOthers() {}
