package router

// Params are the parameters of a matched path, as offsets into that path. The
// zero Params is empty and ready for use; one may be used for any number of
// matches. It refers to the table it was filled from until it is filled again
// or reset.
type Params struct {
	names []string // the winner's
	spans [MaxParams]span
}

// span is a part of the path. The start is negative for a group of an
// expression that took no part in the match.
type span struct{ start, end int32 }

// Len returns the number of parameters of the matched pattern.
func (p *Params) Len() int { return len(p.names) }

// At returns the i-th parameter as written in the pattern. The path must be the
// one that was matched; the value is a part of it, escapes included. It is nil
// for a group of an expression that took no part in the match. At panics if i is
// out of range.
func (p *Params) At(i int, path []byte) (name string, value []byte) {
	name = p.names[i]
	if s := p.spans[i]; s.start >= 0 {
		value = path[s.start:s.end:s.end]
	}
	return name, value
}

// Get returns the parameter of that name and whether the match has it. The path
// must be the one that was matched; the value is a part of it, escapes included.
func (p *Params) Get(path []byte, name string) (value []byte, ok bool) {
	for i, n := range p.names {
		if n == name {
			_, value = p.At(i, path)
			return value, value != nil
		}
	}
	return nil, false
}

// Reset empties the parameters and lets go of the table they came from.
func (p *Params) Reset() { p.names = nil }
