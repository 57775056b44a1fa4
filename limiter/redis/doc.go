// Package redis shares counts between nodes.
package redis
