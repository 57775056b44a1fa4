package proxy

import (
	"bufio"
	"io"
	"reflect"
	"unsafe" //nolint:depguard // fields of fasthttp's that have no accessor; see bodyStreams

	"github.com/valyala/fasthttp"
)

// bodyStreams knows where fasthttp's request stream keeps the reader of the client's
// connection. fasthttp decodes chunked bodies more leniently than an edge may:
// it takes spaces behind a chunk size, control characters in extensions, and a
// chunk whose end is not where its size says. The line decodes them itself from
// that reader, and then tells the stream that the body has ended.
//
// The fields are found by name and type once, by newBodyStreams. Should a version of
// fasthttp lack one of them, ok is false, its own decoder is used, and a test
// fails.
type bodyStreams struct {
	ok                  bool
	stream              reflect.Type
	reader, eof, failed uintptr // offsets in the stream
}

func newBodyStreams() bodyStreams {
	var req fasthttp.Request
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentLength(-1)
	if err := req.ContinueReadBodyStream(bufio.NewReaderSize(eof{}, 16), 1); err != nil {
		return bodyStreams{}
	}
	stream := reflect.TypeOf(req.BodyStream())
	if stream == nil || stream.Kind() != reflect.Pointer || stream.Elem().Kind() != reflect.Struct {
		return bodyStreams{}
	}
	w := bodyStreams{ok: true, stream: stream}
	offset := func(name string, typ reflect.Type) uintptr {
		f, found := stream.Elem().FieldByName(name)
		w.ok = w.ok && found && f.Type == typ
		return f.Offset
	}
	w.reader = offset("reader", reflect.TypeFor[*bufio.Reader]())
	w.eof = offset("eof", reflect.TypeFor[bool]())
	w.failed = offset("failed", reflect.TypeFor[bool]())
	return w
}

// eof is a connection that has ended.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// at returns the stream's memory, nil if it is not the kind that w knows.
func (w *bodyStreams) at(stream io.Reader) unsafe.Pointer {
	if !w.ok {
		return nil
	}
	v := reflect.ValueOf(stream)
	if v.Type() != w.stream {
		return nil
	}
	return v.UnsafePointer()
}

// readerOf returns the reader beneath a request stream, nil if it cannot be
// reached.
func (w *bodyStreams) readerOf(stream io.Reader) *bufio.Reader {
	p := w.at(stream)
	if p == nil {
		return nil
	}
	return *(**bufio.Reader)(unsafe.Add(p, w.reader))
}

// resume tells the stream that a read of it which brought nothing did it no harm.
func (w *bodyStreams) resume(stream io.Reader) {
	*(*bool)(unsafe.Add(w.at(stream), w.failed)) = false
}

// setEnded tells the stream where the reader stands: behind the body, so that
// the next request follows, or somewhere within it, so that the connection
// cannot be used again.
func (w *bodyStreams) setEnded(stream io.Reader, ended bool) {
	p := w.at(stream)
	*(*bool)(unsafe.Add(p, w.eof)) = ended
	*(*bool)(unsafe.Add(p, w.failed)) = !ended
}
