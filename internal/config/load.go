package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	goccy "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"go.yaml.in/yaml/v3"
)

// maxFileBytes bounds one file, so that a path to a device or a log ends in a
// problem and not in memory.
const maxFileBytes = 64 << 20

// Load reads the document at path, what it includes, and the variables in env
// (in the form of os.Environ). The error is of type Problems and holds
// everything that is wrong, warnings included.
func Load(path string, env []string) (*Config, error) {
	l := newLoader(env, diskFiles{})
	data, err := l.read(path)
	if err != nil {
		return nil, Problems{{File: path, Message: err.Error()}}
	}
	return l.load(path, data)
}

// Parse is Load for a document that is already in memory. name stands for it
// in problems, and what it includes is relative to name's directory.
func Parse(name string, data []byte, env []string) (*Config, error) {
	return newLoader(env, diskFiles{}).load(name, data)
}

// Default returns the configuration of an empty document. It is valid, and
// answers every request with 404.
func Default() *Config {
	c, err := newLoader(nil, diskFiles{}).load("", nil)
	if err != nil {
		panic("BUG: the defaults are not valid: " + err.Error())
	}
	c.files = nil
	return c
}

// Files returns every file that was read for c, the document first, then
// includes, secrets and certificates in the order of reading. When none of
// them changes, and nothing in Dirs, loading again gives an equal Config.
func Files(c *Config) []string { return slices.Clone(c.files) }

// Dirs returns the directories that globs of `include` looked into: a new file
// there may become part of the configuration. They need not exist.
func Dirs(c *Config) []string { return slices.Clone(c.dirs) }

// Hash identifies what c was made from: the content of all files, and the
// environment variables that were read. Equal hashes mean equal
// configurations, so a reload with the same hash has nothing to do.
func (c *Config) Hash() string { return c.hash }

// fragment is what an included file may hold.
type fragment struct {
	Include   []string   `yaml:"include"`
	Upstreams []Upstream `yaml:"upstreams"`
	Routes    []Route    `yaml:"routes"`
}

// fileSystem is what a loader reads from.
type fileSystem interface {
	readFile(name string) ([]byte, error)
	glob(pattern string) ([]string, error)
}

type diskFiles struct{}

func (diskFiles) readFile(name string) ([]byte, error) {
	// Looked at before it is opened: opening a named pipe waits for a writer.
	info, err := os.Stat(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("larger than %s", Size(maxFileBytes))
	}
	return data, err
}

func (diskFiles) glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// loader collects one configuration from its files.
type loader struct {
	fs       fileSystem
	plans    plans
	env      environment
	problems Problems
	aliased  int
	config   Config
	// reading is the chain of includes from the main file to the current one.
	reading []string
	files   []string
	dirs    []string
	sum     hash.Hash
}

func newLoader(env []string, fs fileSystem) *loader {
	return &loader{fs: fs, plans: newPlans(), env: newEnvironment(env), sum: sha256.New()}
}

func (l *loader) load(name string, data []byte) (*Config, error) {
	l.note(name, data)
	l.reading = []string{filepath.Clean(name)}
	root := l.document(name, data)
	c := &l.config
	if root != nil {
		d := l.decoder(name)
		d.section(root, reflect.ValueOf(c).Elem())
		l.overrideByEnvironment(d)
		l.overrideRedis()
		checkSettings(scope{d, root}, c)
		l.includes(scope{d, root}, c.Include)
		l.finish()
		checkReadiness(scope{d, root}, c)
	}
	order := make(map[string]int, len(l.files))
	for i, f := range l.files {
		order[f] = i
	}
	l.problems.sortBy(order)
	if l.problems.fatal() {
		return nil, l.problems
	}
	c.Warnings, c.files, c.dirs, c.hash = l.problems, l.files, l.dirs, l.hash()
	c.defaultUpstream = l.plans[reflect.TypeFor[Upstream]()].zero.Interface().(Upstream)
	return c, nil
}

func (l *loader) decoder(file string) *decoder {
	return &decoder{
		file: file, plans: l.plans, env: l.env, problems: &l.problems, aliased: &l.aliased,
		readFile: func(name string) (string, []byte, error) {
			path := relativeTo(file, name)
			data, err := l.read(path)
			if err != nil {
				return path, nil, fmt.Errorf("read %s: %w", path, err)
			}
			if !slices.Contains(l.files, path) {
				l.note(path, data)
			}
			return path, data, nil
		},
	}
}

func (l *loader) read(path string) ([]byte, error) { return l.fs.readFile(path) }

// note adds a file to those that the configuration is made from.
func (l *loader) note(path string, data []byte) {
	l.files = append(l.files, path)
	fmt.Fprintf(l.sum, "file %q %d\n", path, len(data))
	l.sum.Write(data)
}

func (l *loader) hash() string {
	var names []string
	for name := range l.env.values {
		if l.env.used[name] || strings.HasPrefix(name, variablePrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(l.sum, "env %q %q\n", name, l.env.values[name])
	}
	return hex.EncodeToString(l.sum.Sum(nil))
}

// document returns the root node of a file, or nil after reporting that there
// is none.
func (l *loader) document(name string, data []byte) *yaml.Node {
	fail := func(line, column int, message string) *yaml.Node {
		l.problems = append(l.problems, Problem{File: name, Line: line, Column: column, Message: message})
		return nil
	}
	var root, second yaml.Node
	stream := yaml.NewDecoder(bytes.NewReader(data))
	err := stream.Decode(&root)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	if err == nil {
		if err = stream.Decode(&second); err == nil {
			return fail(second.Line, second.Column, "a second document starts here; a file holds one")
		}
	}
	if !errors.Is(err, io.EOF) {
		return fail(syntaxError(data, err))
	}
	n := root.Content[0]
	if n.Kind != yaml.MappingNode && !isNull(n) {
		return fail(n.Line, n.Column, "expected keys such as routes, got "+describe(n))
	}
	return n
}

// syntaxError finds the place of a syntax error. The parser that makes the
// nodes is three times as fast as the other one, but names only the start of
// the block in which it gave up; so on an error the other one is asked.
func syntaxError(data []byte, err error) (line, column int, message string) {
	var exact *goccy.SyntaxError
	if _, slow := parser.ParseBytes(data, 0); errors.As(slow, &exact) && exact.Token != nil {
		at := exact.Token.Position
		return at.Line, at.Column, exact.Message
	}
	return 0, 0, err.Error()
}

// includes reads the files that the names and globs of one file stand for.
func (l *loader) includes(s scope, names []string) {
	for i, name := range names {
		field := "include[" + strconv.Itoa(i) + "]"
		if name == "" {
			s.problem(field, "must not be empty")
			continue
		}
		path := relativeTo(s.d.file, name)
		if strings.ContainsAny(name, "*?[") {
			l.includeGlob(s, field, path)
			continue
		}
		if slices.Contains(l.reading, path) {
			s.problem(field, "includes itself: %s", strings.Join(append(slices.Clone(l.reading), path), " -> "))
			continue
		}
		l.includeFile(s, field, path)
	}
}

// includeGlob reads what a pattern matches, in the order of the names. The
// files that are being read are left out, since `*.yaml` is not meant to
// include the file that says so.
func (l *loader) includeGlob(s scope, field, pattern string) {
	paths, err := l.fs.glob(pattern)
	if err != nil {
		s.problem(field, "glob is malformed")
		return
	}
	slices.Sort(paths)
	l.watchDir(filepath.Dir(pattern))
	for _, path := range paths {
		l.watchDir(filepath.Dir(path))
		if !slices.Contains(l.reading, path) {
			l.includeFile(s, field, path)
		}
	}
}

func (l *loader) watchDir(dir string) {
	for strings.ContainsAny(dir, "*?[") {
		dir = filepath.Dir(dir)
	}
	if !slices.Contains(l.dirs, dir) {
		l.dirs = append(l.dirs, dir)
	}
}

// includeFile reads one file, unless it was read before.
func (l *loader) includeFile(s scope, field, path string) {
	if slices.Contains(l.files, path) {
		return
	}
	data, err := l.read(path)
	if err != nil {
		s.problem(field, "read %s: %v", path, err)
		return
	}
	l.note(path, data)
	root := l.document(path, data)
	if root == nil {
		return
	}
	l.reading = append(l.reading, path)
	defer func() { l.reading = l.reading[:len(l.reading)-1] }()
	d := l.decoder(path)
	var part fragment
	d.section(root, reflect.ValueOf(&part).Elem())
	l.config.Upstreams = append(l.config.Upstreams, part.Upstreams...)
	l.config.Routes = append(l.config.Routes, part.Routes...)
	l.includes(scope{d, root}, part.Include)
}

// relativeTo returns name as seen from the directory of file.
func relativeTo(file, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(file), name)
}
