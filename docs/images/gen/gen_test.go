package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPicturesAreCurrent compares what is committed with what the program draws now.
func TestPicturesAreCurrent(t *testing.T) {
	files, err := pictures()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./docs/images/gen", name)
		}
	}
}

// TestExcessIsWithinTheBound holds what the picture says.
func TestExcessIsWithinTheBound(t *testing.T) {
	for _, nodes := range []int{2, 3, 8} {
		for _, interval := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
			got, err := worst(nodes, interval)
			if err != nil {
				t.Fatal(err)
			}
			if most := bound(nodes, interval); got <= 0 || float64(got) > most {
				t.Errorf("%d nodes, %v: %d above the limit, want some and at most %.0f", nodes, interval, got, most)
			}
		}
	}
}
