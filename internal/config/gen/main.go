// Command gen writes the files that are generated from the configuration
// structs: configs/schema.json and docs/configuration.md. It owns only their
// places; their content is the config package's.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/salgue441/velocity/internal/config"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run() error {
	// go generate runs this in the directory of the config package.
	root := filepath.Join("..", "..")
	schema, err := config.Schema()
	if err != nil {
		return err
	}
	if err := write(filepath.Join(root, "configs", "schema.json"), schema); err != nil {
		return err
	}
	reference, err := config.Reference()
	if err != nil {
		return err
	}
	return write(filepath.Join(root, "docs", "configuration.md"), reference)
}

func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // part of the repository, as its other files
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.WriteFile(name, data, 0o644) //nolint:gosec // part of the repository, as its other files
}
