package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// noFiles keeps fuzzing off the disk.
type noFiles struct{}

func (noFiles) readFile(string) ([]byte, error) { return nil, fs.ErrNotExist }
func (noFiles) glob(pattern string) ([]string, error) {
	return filepath.Glob(filepath.Join("nowhere", pattern))
}

var fuzzEnv = []string{"HOST=127.0.0.1", "PORT=8080", "VALUE=${x} $", "ADMIN_TOKEN=a-token-of-sufficient-length"}

// FuzzParse checks that no document makes Parse panic, that problems have a
// file and a message, and that what loads is written as a document that loads
// to the same.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../../configs/*.yaml", "../../configs/examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("seeds %s: %v", pattern, err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := newLoader(fuzzEnv, noFiles{}).load("fuzz.yaml", data)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || !problems.fatal() {
				t.Fatalf("not a problem: %v", err)
			}
			for _, p := range problems {
				if p.File == "" || p.Message == "" || p.Line < 0 || p.Column < 0 {
					t.Fatalf("incomplete problem %+v", p)
				}
			}
			return
		}
		doc, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := newLoader(fuzzEnv, noFiles{}).load("again.yaml", doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		want, got := c.Redacted(), again.Redacted()
		delete(want, "include")
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%v\nwant\n%v\n%s", got, want, doc)
		}
	})
}
