package redis

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/salgue441/velocity/limiter"
)

// Keys are named prefix{tag}:…, with the tag in braces so that a Cluster keeps
// together what one script touches. All rules of a key have the same tag.

// names makes the names of keys.
type names struct {
	heads []string // prefix and tag
}

func newNames(prefix string, tags int) names {
	n := names{heads: make([]string, tags)}
	for i := range n.heads {
		n.heads[i] = fmt.Sprintf("%s{%s-%d}:", prefix, prefix, i)
	}
	return n
}

// tag of a limiter's key.
func (n names) tag(m *member, k limiter.Key) int {
	return int((k.Hi ^ k.Lo>>32 ^ m.hash) % uint64(len(n.heads)))
}

func (n names) nodes() string { return n.heads[0] + "nodes" }

func (n names) epoch(tag int) string { return n.heads[tag] + "epoch" }

// batch is where the number of a process's last batch is kept.
func (n names) batch(tag, chunk int, life string) string {
	return n.heads[tag] + "batch:" + life + ":" + strconv.Itoa(chunk)
}

// count is where what was taken of a rule is kept.
func (n names) count(tag int, m *member, account limiter.Account, rule int, k limiter.Key, start int64) string {
	b := make([]byte, 0, 128)
	b = append(b, n.heads[tag]...)
	b = append(b, m.rules[rule].id...)
	b = append(b, ':')
	switch account {
	case limiter.Whole:
		b = append(b, "whole"...)
	case limiter.Overflow:
		b = append(b, "overflow"...)
	case limiter.Keyed:
		b = appendHex(appendHex(b, k.Hi), k.Lo)
	}
	if start != 0 {
		b = append(b, ':')
		b = strconv.AppendInt(b, start, 10)
	}
	return string(b)
}

func appendHex(b []byte, v uint64) []byte {
	return hex.AppendEncode(b, []byte{byte(v >> 56), byte(v >> 48), byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// identify names a rule of a limiter so that only rules that are the Same share counts.
func identify(name string, r limiter.Rule) string {
	h := fnv.New128a()
	zone := "UTC"
	if r.Location != nil {
		zone = r.Location.String()
	}
	fmt.Fprintf(h, "%q %q %q %d %d %q %q %d", name, r.Name, r.Algorithm, r.Limit, r.Window, r.Period, zone, r.Burst)
	return hex.EncodeToString(h.Sum(nil))
}
