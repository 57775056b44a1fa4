// Command gen draws the pictures of docs/rate-limiting.md by running package limiter
// under a clock of its own: what each algorithm admits of the same requests, and how
// much several nodes admit too much that exchange counts. The same code draws the same
// pictures. It owns no number in them but those of the load.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run . ..

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the directory of the pictures, got %q", args)
	}
	files, err := pictures()
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), data, 0o644); err != nil { //nolint:gosec // part of the repository, as its other files
			return fmt.Errorf("write picture: %w", err)
		}
	}
	return nil
}

// pictures draws all pictures, by the names of their files.
func pictures() (map[string][]byte, error) {
	algorithms, err := drawAlgorithms()
	if err != nil {
		return nil, fmt.Errorf("draw algorithms: %w", err)
	}
	nodes, err := drawNodes()
	if err != nil {
		return nil, fmt.Errorf("draw nodes: %w", err)
	}
	return map[string][]byte{"limit-algorithms.svg": algorithms, "limit-nodes.svg": nodes}, nil
}
