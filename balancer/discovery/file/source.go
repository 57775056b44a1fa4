package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/salgue441/velocity/balancer/discovery"
)

const (
	// DefaultPoll is how often the file is read when nobody says that it changed.
	DefaultPoll = 30 * time.Second
	// MaxSize is the size up to which a file is read.
	MaxSize = 8 << 20

	// settle is how long a file must be left alone before it is read: writers that
	// do not rename write in several steps.
	settle = 50 * time.Millisecond
)

// Settings are what to watch. Only Path is needed.
type Settings struct {
	// Path is the file. Its extension says its format: .json, .yaml or .yml; with
	// any other one its first byte does.
	Path string
	// Poll is how often the file is read although no change was noticed, as on file
	// systems of other machines; 0 means DefaultPoll.
	Poll time.Duration
}

// Source watches a file.
type Source struct {
	settings Settings
	notify   func() (*fsnotify.Watcher, error)
}

var _ discovery.Source = (*Source)(nil)

// New returns a source, or what is wrong with the settings. The file need not exist.
func New(settings Settings) (*Source, error) {
	if settings.Path == "" {
		return nil, errors.New("discover by file: no path")
	}
	path, err := filepath.Abs(settings.Path)
	if err != nil {
		return nil, fmt.Errorf("discover by file: %w", err)
	}
	settings.Path = path
	if settings.Poll <= 0 {
		settings.Poll = DefaultPoll
	}
	return &Source{settings, fsnotify.NewWatcher}, nil
}

// Key is made of all settings.
func (s *Source) Key() string { return fmt.Sprintf("file %#v", s.settings) }

// String names the file.
func (s *Source) String() string { return "file " + s.settings.Path }

// Run reads the file now, when it changes and at every poll.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	w := newWatcher(s.settings.Path, s.notify)
	defer w.close()
	poll, quiet := time.NewTimer(s.settings.Poll), time.NewTimer(0)
	defer poll.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.events:
			if w.concerns(e) {
				quiet.Reset(settle)
			}
		case err := <-w.errors:
			if err != nil { // events were lost
				quiet.Reset(settle)
			}
		case <-poll.C:
			s.look(w, sink, poll)
		case <-quiet.C:
			s.look(w, sink, poll)
		}
	}
}

// look reads the file once. The watch comes first: a change in between is noticed.
func (s *Source) look(w *watcher, sink discovery.Sink, poll *time.Timer) {
	w.follow()
	targets, err := read(s.settings.Path)
	poll.Reset(s.settings.Poll)
	next := time.Now().Add(s.settings.Poll)
	if err != nil {
		sink.Fail(err, next)
		return
	}
	sink.Update(targets, next)
}

func read(path string) ([]discovery.Target, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	targets, err := Parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	return targets, nil
}
