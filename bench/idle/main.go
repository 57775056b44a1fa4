//go:build linux

// Command idle measures what idle keep-alive connections cost a gateway. It
// starts the gateway and its sample upstream, opens connections, sends one
// request over each, waits until they rest, and prints the resident memory that
// each takes, and then the system calls that a request costs on a connection
// that is busy and on one that has rested. It owns no comparison with others:
// that is bench/load.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("binary", "bin/velocity", "the gateway")
	connections := flag.Int("connections", 15000, "connections to open; fewer if the limit on file descriptors asks for it")
	settle := flag.Duration("settle", 8*time.Second, "time for connections to come to rest and for memory to be given back")
	flag.Parse()
	if err := run(*binary, *connections, *settle); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

const document = `
server: {host: 127.0.0.1, port: 0, idle_timeout: 10m, watch: false}
admin: {enabled: false}
observability: {access_log: {enabled: false}}
routes: [{path: /*, targets: [{url: "http://%s"}]}]
`

func run(binary string, connections int, settle time.Duration) error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read limit on file descriptors: %w", err)
	}
	// Pools towards the upstream take some as well.
	if room := int(files.Cur) - 1500; connections > room {
		fmt.Printf("%d file descriptors allow %d connections\n", files.Cur, room)
		connections = room
	}
	dir, err := os.MkdirTemp("", "velocity-idle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what is left is in the system's temporary files
	upstream, _, stop, err := launch(" on http://", binary, "echo", "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer stop()
	config := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, document, upstream), 0o600); err != nil {
		return err
	}
	address, pid, stop, err := launch(`"address":"`, binary, "--config", config)
	if err != nil {
		return err
	}
	defer stop()
	return measure(address, pid, connections, settle)
}

// launch starts a program and returns the address that follows a mark on its
// standard error.
func launch(mark string, args ...string) (address string, pid int, stop func(), err error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return "", 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // by the signal
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), mark); ok {
			go io.Copy(io.Discard, stderr) //nolint:errcheck // ends with the program
			end := strings.IndexAny(rest, `" `)
			if end < 0 {
				end = len(rest)
			}
			return rest[:end], cmd.Process.Pid, stop, nil
		}
	}
	stop()
	return "", 0, nil, fmt.Errorf("%s has not said where it listens", args[0])
}

// client is one connection.
type client struct {
	net.Conn
	br *bufio.Reader
}

// ask sends one request and reads its answer.
func (c *client) ask() error {
	if _, err := io.WriteString(c, "GET /idle HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	if c.br == nil {
		c.br = bufio.NewReaderSize(c, 1024)
	}
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("answer is %s", r.Status)
	}
	return r.Body.Close()
}

func measure(address string, pid, connections int, settle time.Duration) error {
	before, err := resident(pid)
	if err != nil {
		return err
	}
	clients := make([]*client, connections)
	if err := inParallel(connections, func(i int) error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		clients[i] = &client{Conn: c}
		err = clients[i].ask()
		clients[i].br = nil // this program's memory is of no interest, but limited
		return err
	}); err != nil {
		return fmt.Errorf("open connections: %w", err)
	}
	first, err := resident(pid)
	if err != nil {
		return err
	}
	time.Sleep(settle)
	after, err := resident(pid)
	if err != nil {
		return err
	}
	fmt.Printf("%d idle connections: resident %.1f MiB before, %.1f MiB after their requests, %.1f MiB after %v: %.2f KiB each\n",
		connections, mib(before), mib(first), mib(after), settle, float64(after-before)/1024/float64(connections))

	const rounds = 2000
	busy, err := calls(pid, func() error {
		for range rounds {
			if err := clients[0].ask(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask on a busy connection: %w", err)
	}
	sample := min(rounds, connections-1)
	rested, err := calls(pid, func() error {
		for _, c := range clients[1 : 1+sample] {
			if err := c.ask(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask after a rest: %w", err)
	}
	fmt.Printf("reads and writes a request, both sides, the upstream's included: %.2f on a busy connection, %.2f on one that has rested\n",
		busy/rounds, rested/float64(sample))
	for _, c := range clients {
		_ = c.Close() // the process ends anyway
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// inParallel calls f for 0 to n-1, some at a time, and returns the first error.
func inParallel(n int, f func(i int) error) error {
	const workers = 64
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// resident is the resident memory of a process, in bytes.
func resident(pid int) (int64, error) {
	n, err := procField(pid, "status", "VmRSS:")
	return n << 10, err
}

// calls is how many read and write system calls a process makes while f runs.
// The kernel counts those that would have to wait as well.
func calls(pid int, f func() error) (float64, error) {
	count := func() (int64, error) {
		r, err := procField(pid, "io", "syscr:")
		if err != nil {
			return 0, err
		}
		w, err := procField(pid, "io", "syscw:")
		return r + w, err
	}
	before, err := count()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := count()
	return float64(after - before), err
}

// procField reads a number from a file of a process in /proc.
func procField(pid int, file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("read /proc/%d/%s: no %s", pid, file, name)
}
