package telemetry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestNewLogger(t *testing.T) {
	var out memory
	logger, level, err := NewLogger("warn", "json", &out)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("hidden")
	logger.Warn("shown", zap.String("route", "a"))
	level.SetLevel(zapcore.InfoLevel)
	logger.Info("shown later")
	lines := out.lines()
	if len(lines) != 2 {
		t.Fatalf("lines are %q, want two", lines)
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(lines[0]), &fields); err != nil {
		t.Fatalf("parse line: %v", err)
	}
	if fields["level"] != "warn" || fields["message"] != "shown" || fields["route"] != "a" || !strings.HasSuffix(fields["time"], "Z") {
		t.Errorf("fields are %v", fields)
	}

	var console memory
	logger, level, err = NewLogger("", "console", &console)
	if err != nil || level.Level() != zapcore.InfoLevel {
		t.Fatalf("default level is %v, error %v", level, err)
	}
	logger.Info("hello")
	if text := console.lines()[0]; strings.HasPrefix(text, "{") || !strings.Contains(text, "hello") {
		t.Errorf("console line is %q", text)
	}
}

func TestNewLoggerRefusesUnknownWords(t *testing.T) {
	if _, _, err := NewLogger("loud", "", &memory{}); err == nil || err.Error() != `create logger: unknown level "loud"` {
		t.Errorf("level error is %v", err)
	}
	if _, _, err := NewLogger("", "xml", &memory{}); err == nil || err.Error() != `create logger: unknown format "xml"` {
		t.Errorf("format error is %v", err)
	}
}

func TestFileWriterReopen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	rotated := path + ".1"
	if err := os.WriteFile(path, []byte("old\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	w, err := NewFileWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if err := os.Rename(path, rotated); err != nil {
		t.Fatal(err)
	}
	write("two\n")
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	for name, want := range map[string]string{rotated: "old\none\ntwo\n", path: "three\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", filepath.Base(name), got, err, want)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err == nil {
		t.Error("reopen in a missing directory succeeded")
	}
	write("four\n") // still goes to the file that is open
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("five\n")); err == nil {
		t.Error("write after close succeeded")
	}
}
