package telemetry

import (
	"fmt"
	"os"
	"sync"
)

// FileWriter appends to a file that another program may rotate: move the file
// away, then have Reopen called. It is a zapcore.WriteSyncer, safe for
// concurrent use.
type FileWriter struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// NewFileWriter opens the file at path for appending, and creates it, readable by
// owner and group only, if it does not exist.
func NewFileWriter(path string) (*FileWriter, error) {
	file, err := openLog(path)
	if err != nil {
		return nil, err
	}
	return &FileWriter{path: path, file: file}, nil
}

func openLog(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640) //nolint:gosec // log shippers read it through the group
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return file, nil
}

// Write appends p.
func (f *FileWriter) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Write(p)
}

// Sync makes what was written durable.
func (f *FileWriter) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Sync()
}

// Reopen opens the path again and closes the old file: after it returns, nothing
// is written to a file that was moved away. If the path cannot be opened, writing
// goes on to the old file.
func (f *FileWriter) Reopen() error {
	file, err := openLog(f.path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	old := f.file
	f.file = file
	f.mu.Unlock()
	if err := old.Close(); err != nil {
		return fmt.Errorf("close rotated log file: %w", err)
	}
	return nil
}

// Close closes the file; later writes fail.
func (f *FileWriter) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}
