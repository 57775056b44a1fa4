package limiter

import "math/bits"

// bitmap is a set of records of a part. The nil one is empty and stays so.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) set(i int) {
	if b != nil {
		b[i/64] |= 1 << (i % 64)
	}
}

func (b bitmap) clear(i int) {
	if b != nil {
		b[i/64] &^= 1 << (i % 64)
	}
}

// move makes one record what another was.
func (b bitmap) move(to, from int) {
	if b == nil {
		return
	}
	if b[from/64]>>(from%64)&1 != 0 {
		b.set(to)
	} else {
		b.clear(to)
	}
}

// next is the first record of the set at or after i, or -1.
func (b bitmap) next(i int) int {
	for word := i / 64; word < len(b); word++ {
		rest := b[word]
		if word == i/64 {
			rest &= ^uint64(0) << (i % 64)
		}
		if rest != 0 {
			return word*64 + bits.TrailingZeros64(rest)
		}
	}
	return -1
}
