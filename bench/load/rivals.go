//go:build linux

package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed rivals
var templates embed.FS

// logFlush is longer than any proxy here keeps lines before it writes them.
const logFlush = 1500 * time.Millisecond

// rival is one way from wrk to the origin. Its exported fields describe it in the report.
type rival struct {
	Name string `json:"name"`
	// Baseline names the rival that its CPU time is compared with: the one with the same logging.
	Baseline string `json:"baseline,omitempty"`
	Version  string `json:"version,omitempty"`
	Command  string `json:"command,omitempty"`

	logs     bool
	template string   // in rivals/
	run      []string // command, to which the path of the rendered template is added
	env      []string
	port     int
	log      string // path of the access log, or empty
	process  *process
}

// field is everything that takes part: origin, proxies, and the files they need.
type field struct {
	opts    options
	dir     string
	cpus    placement
	path    string // of every request
	backend *rival
	rivals  []*rival
	script  string // wrk's
}

// newField decides who takes part. A proxy that is not installed is left out and said to be.
func newField(opts options, dir string, cpus placement) (*field, error) {
	f := &field{opts: opts, dir: dir, cpus: cpus, path: "/plain", script: filepath.Join(dir, "wrk.lua")}
	if opts.body != len(plain) {
		f.path += "?size=" + strconv.Itoa(opts.body)
	}
	velocity, nginx, haproxy := find(opts.velocity), find("nginx"), find("haproxy")

	switch {
	case nginx != "":
		f.backend = &rival{Name: "origin", template: "backend.conf", run: []string{nginx, "-c"}}
	case velocity != "":
		f.backend = &rival{Name: "origin", run: []string{velocity, "echo", "--listen"}}
	default:
		return nil, errors.New("neither nginx nor velocity is there to be the origin: run make build, or install nginx")
	}

	f.rivals = []*rival{{Name: "direct"}}
	for _, logs := range []bool{true, false} {
		suffix := ""
		if !logs {
			suffix = " no-log"
		}
		for _, r := range []*rival{
			{Name: "velocity", template: "velocity.yaml", run: []string{velocity, "--config"}, env: []string{"GOMAXPROCS=1"}, Version: version(velocity, "version")},
			{Name: "nginx", template: "nginx.conf", run: []string{nginx, "-c"}, Version: version(nginx, "-v")},
			{Name: "haproxy", template: "haproxy.cfg", run: []string{haproxy, "-db", "-f"}, Version: version(haproxy, "-v")},
		} {
			if r.run[0] == "" {
				if logs {
					fmt.Printf("%s is not there and is left out\n", r.Name)
				}
				continue
			}
			r.Name += suffix
			r.logs = logs
			if nginx != "" {
				r.Baseline = "nginx" + suffix
			}
			f.rivals = append(f.rivals, r)
		}
	}
	if opts.only != "" {
		wanted := strings.Split(opts.only, ",")
		f.rivals = slices.DeleteFunc(f.rivals, func(r *rival) bool { return !slices.Contains(wanted, r.Name) })
	}
	if len(f.rivals) == 0 {
		return nil, fmt.Errorf("-only %q: no such proxy here", opts.only)
	}
	return f, nil
}

// find returns the path of a command, or nothing. Daemons live in sbin, which is not on every user's PATH.
func find(name string) string {
	for _, candidate := range []string{name, "/usr/local/sbin/" + name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// version returns the first line that a program says about itself, or nothing.
func version(command string, flag string) string {
	if command == "" {
		return ""
	}
	// Some say it on standard error, and wrk exits with 1.
	out, _ := exec.Command(command, flag).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func (f *field) names() []string {
	names := make([]string, len(f.rivals))
	for i, r := range f.rivals {
		names[i] = r.Name
	}
	return names
}

// start launches the origin and the proxies and waits until each answers as it should.
func (f *field) start(ctx context.Context) error {
	script, err := templates.ReadFile("rivals/wrk.lua")
	if err != nil {
		return fmt.Errorf("read wrk script: %w", err)
	}
	if err := os.WriteFile(f.script, script, 0o600); err != nil {
		return fmt.Errorf("write wrk script: %w", err)
	}
	ports, err := freePorts(2 + 2*len(f.rivals))
	if err != nil {
		return err
	}
	f.backend.port, ports = ports[0], ports[1:]
	if err := f.launch(ctx, f.backend, f.cpus.Backend, 0); err != nil {
		return err
	}
	for _, r := range f.rivals {
		if r.run == nil {
			r.port = f.backend.port
			continue
		}
		admin := ports[1]
		r.port, ports = ports[0], ports[2:]
		if err := f.launch(ctx, r, f.cpus.Proxy, admin); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) launch(ctx context.Context, r *rival, cpu, admin int) error {
	dir := filepath.Join(f.dir, strings.ReplaceAll(r.Name, " ", "-"))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make folder of %s: %w", r.Name, err)
	}
	stdout := filepath.Join(dir, "stdout")
	if r.logs {
		r.log = filepath.Join(dir, "access.log")
		// HAProxy logs to its standard output; the others are told the file's name.
		if r.template == "haproxy.cfg" {
			r.log = stdout
		}
	}
	argument := fmt.Sprintf("127.0.0.1:%d", r.port)
	if r.template != "" {
		argument = filepath.Join(dir, r.template)
		if err := f.render(r, dir, argument, admin); err != nil {
			return err
		}
	}
	command := append(slices.Clone(r.run), argument)
	r.Command = strings.Join(slices.Concat([]string{"taskset -c", strconv.Itoa(cpu)}, r.env, command), " ")
	r.Command = strings.ReplaceAll(r.Command, f.dir, "$TMP")

	var err error
	if r.process, err = launch(cpu, r.env, stdout, command...); err != nil {
		return err
	}
	return f.awaitReady(ctx, r)
}

// render writes a rival's configuration from its template.
func (f *field) render(r *rival, dir, path string, admin int) error {
	t, err := template.ParseFS(templates, "rivals/"+r.template)
	if err != nil {
		return fmt.Errorf("parse template of %s: %w", r.Name, err)
	}
	// nginx refuses long words: a large body is put together from a variable that holds one KiB.
	body := plain
	if f.opts.body != len(plain) {
		body = strings.Repeat("$kib", f.opts.body/1024) + strings.Repeat("x", f.opts.body%1024)
	}
	var text strings.Builder
	err = t.Execute(&text, map[string]any{
		"Dir": dir, "Port": r.port, "Admin": admin, "Backend": f.backend.port, "AccessLog": r.log,
		"Body": body, "KiB": strings.Repeat("x", 1024),
	})
	if err != nil {
		return fmt.Errorf("render template of %s: %w", r.Name, err)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write configuration of %s: %w", r.Name, err)
	}
	return nil
}

// plain is the body of the smallest answer; velocity echo gives the same at the same path.
const plain = "Hello, world!"

// awaitReady waits until a GET through r brings the whole body, ten seconds at most.
func (f *field) awaitReady(ctx context.Context, r *rival) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var last error
	for r.process.running() {
		if last = f.try(ctx, r); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", r.Name, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s ended instead of starting: %s", r.Name, strings.TrimSpace(r.process.stderr.String()))
}

func (f *field) try(ctx context.Context, r *rival) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url(r), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", r.Name, err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or given up
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", r.Name, err)
	}
	if response.StatusCode != http.StatusOK || len(body) != f.opts.body {
		return fmt.Errorf("%s answers %s with %d bytes, want 200 with %d", r.Name, response.Status, len(body), f.opts.body)
	}
	return nil
}

func (f *field) url(r *rival) string { return fmt.Sprintf("http://127.0.0.1:%d%s", r.port, f.path) }

// stop ends the proxies first and the origin last.
func (f *field) stop() {
	for _, r := range append(slices.Clone(f.rivals), f.backend) {
		if r.process != nil {
			r.process.stop()
		}
	}
}

// freePorts returns n loopback ports that were free a moment ago, all different.
func freePorts(n int) (ports []int, err error) {
	for range n {
		listener, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			return nil, fmt.Errorf("find free port: %w", listenErr)
		}
		// Held until all are found, so that none is found twice.
		defer func() { err = errors.Join(err, listener.Close()) }()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
