package telemetry

import (
	"fmt"
	"io"
	"strconv"
)

const (
	pageFlush = 64 << 10 // bytes gathered before a write
	pageSlack = 4 << 10  // room for the line that crosses the mark
)

// page builds the text in a buffer of constant size. After a failed write it
// goes on as a no-op.
type page struct {
	w   io.Writer
	buf []byte
	err error
}

func newPage(w io.Writer) *page {
	return &page{w: w, buf: make([]byte, 0, pageFlush+pageSlack)}
}

func (p *page) flush() {
	if p.err == nil {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
}

func (p *page) family(f familyIndex) {
	m := &families[f]
	p.buf = fmt.Appendf(p.buf, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
}

// single writes a family with one sample and no labels.
func (p *page) single(f familyIndex, n uint64) {
	p.family(f)
	p.value(f, n)
}

func (p *page) value(f familyIndex, n uint64) { p.sample(f, "", "", "", "", n) }

func (p *page) float(f familyIndex, labels string, v float64) {
	p.start(f, "", labels, "", "")
	p.buf = strconv.AppendFloat(p.buf, v, 'g', -1, 64)
	p.end()
}

// sample writes one line. The labels are formatted already; extra is one more
// label up to its opening quote, with extraValue after it.
func (p *page) sample(f familyIndex, suffix, labels, extra, extraValue string, n uint64) {
	p.start(f, suffix, labels, extra, extraValue)
	p.buf = strconv.AppendUint(p.buf, n, 10)
	p.end()
}

func (p *page) start(f familyIndex, suffix, labels, extra, extraValue string) {
	b := append(p.buf, families[f].name...)
	b = append(b, suffix...)
	if labels != "" || extra != "" {
		b = append(b, '{')
		b = append(b, labels...)
		if extra != "" {
			if labels != "" {
				b = append(b, ',')
			}
			b = append(b, extra...)
			b = append(b, extraValue...)
			b = append(b, '"')
		}
		b = append(b, '}')
	}
	p.buf = append(b, ' ')
}

func (p *page) end() {
	p.buf = append(p.buf, '\n')
	if len(p.buf) >= pageFlush {
		p.flush()
	}
}

// histogram writes the buckets, sum and count of t, or nothing when it is empty.
func (p *page) histogram(f familyIndex, labels, extra string, t *tally) {
	if t.count == 0 {
		return
	}
	if extra != "" {
		labels += "," + extra
	}
	var below uint64
	for i, n := range t.buckets {
		below += n
		p.sample(f, "_bucket", labels, `le="`, boundLabels[i], below)
	}
	p.start(f, "_sum", labels, "", "")
	p.buf = strconv.AppendFloat(p.buf, float64(t.nanos)/1e9, 'g', -1, 64)
	p.end()
	p.sample(f, "_count", labels, "", "", t.count)
}

// summed writes a family with one sample for each handle in use: the sum of what
// read returns of its shards.
func summed[S any, N int64 | uint64, H interface{ stripes() *striped[S] }](p *page, f familyIndex, handles []H, read func(*S) N) {
	p.family(f)
	for _, h := range handles {
		m := h.stripes()
		if n, used := sum(m, read); used {
			p.sample(f, "", m.labels, "", "", n)
		}
	}
}

// summedBy is summed for an array of counters, one for each value of the label
// extra, written as sample takes it. Those that are zero have no sample.
func summedBy[S any, H interface{ stripes() *striped[S] }](p *page, f familyIndex, handles []H, extra string, values []string, read func(s *S, i int) uint64) {
	p.family(f)
	for _, h := range handles {
		m := h.stripes()
		for i, value := range values {
			if n, _ := sum(m, func(s *S) uint64 { return read(s, i) }); n > 0 {
				p.sample(f, "", m.labels, extra, value, n)
			}
		}
	}
}

// states writes a family with one sample for each state that read has a value of.
func states[S any](p *page, f familyIndex, list []reading[S], read func(*S) (n uint64, ok bool)) {
	p.family(f)
	for i := range list {
		if n, ok := read(&list[i].state); ok {
			p.sample(f, "", list[i].labels, "", "", n)
		}
	}
}
