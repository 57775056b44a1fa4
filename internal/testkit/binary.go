package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// binaryVariable names the binary under test.
const binaryVariable = "VELOCITY_BIN"

// Main runs a package's tests against the binary that VELOCITY_BIN names. When
// it names none, the binary is built into a directory that is removed again.
// It returns the exit code for os.Exit.
func Main(m *testing.M) int {
	if path := os.Getenv(binaryVariable); path != "" {
		// The look also tells the go command that results depend on the file.
		if _, err := os.Stat(path); err != nil { //nolint:gosec // whoever runs the tests names the binary
			fmt.Fprintf(os.Stderr, "find binary: %s: %v; run make build\n", binaryVariable, err)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "velocity-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "build binary:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the temporary directory
	path := filepath.Join(dir, "velocity")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "github.com/salgue441/velocity/cmd/velocity")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build binary:", err)
		return 1
	}
	if err := os.Setenv(binaryVariable, path); err != nil {
		fmt.Fprintln(os.Stderr, "build binary:", err)
		return 1
	}
	return m.Run()
}

// Finished is a command that has ended.
type Finished struct {
	// Code is the exit code.
	Code int
	// Stdout and Stderr are all that was written.
	Stdout, Stderr string
}

// Run runs the binary with arguments until it ends by itself.
func Run(tb testing.TB, env []string, args ...string) Finished {
	tb.Helper()
	cmd := command(tb, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatalf("run velocity %q: %v", args, err)
	}
	return Finished{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// command prepares the binary with the surrounding environment, less what
// would configure it, and env.
func command(tb testing.TB, env []string, args ...string) *exec.Cmd {
	tb.Helper()
	path := os.Getenv(binaryVariable)
	if path == "" {
		tb.Fatalf("%s is not set: run the package's tests through testkit.Main", binaryVariable)
	}
	cmd := exec.CommandContext(tb.Context(), path, args...) //nolint:gosec // whoever runs the tests names the binary
	cmd.Dir = tb.TempDir()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "VELOCITY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// Sockets for take-overs go where they are removed with the test.
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+cmd.Dir)
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// WriteFile writes a file below dir, making directories as needed, and returns
// its path. It truncates and rewrites a file that exists, as some editors do.
func WriteFile(tb testing.TB, dir, name, text string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// ReplaceFile renames a new file over path, as other editors do.
func ReplaceFile(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}
