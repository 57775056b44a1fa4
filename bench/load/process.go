//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of CPU times in /proc, USER_HZ, which is 100 in Linux' interface whatever the kernel's own.
const ticksPerSecond = 100

// process is one that this program started.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}
}

// launch starts args on one CPU with standard output appended to a file.
func launch(cpu int, env []string, stdout string, args ...string) (*process, error) {
	out, err := os.OpenFile(stdout, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open output of %s: %w", args[0], err)
	}
	defer out.Close()

	p := &process{cmd: exec.Command("taskset", append([]string{"-c", strconv.Itoa(cpu)}, args...)...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout = out
	p.cmd.Stderr = &p.stderr
	// A process group of its own keeps Ctrl-C for this program; the signal ends the child should this program be killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		defer close(p.ended)
		// How it ended shows in running and in its standard error.
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// running reports whether the process still runs; when it does not, its standard error may be read.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop ends the process, and by force those of its tree that take longer than five seconds.
func (p *process) stop() {
	if !p.running() {
		return
	}
	tree := descendants(p.cmd.Process.Pid)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		for _, pid := range tree {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-p.ended
	}
}

// usage is what a process and its descendants have used so far.
type usage struct {
	User, System time.Duration
	// ResidentKiB is the sum over the tree. Pages that a worker shares with its parent count twice.
	ResidentKiB int64
}

func (p *process) usage() (usage, error) {
	var total usage
	for _, pid := range descendants(p.cmd.Process.Pid) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return usage{}, fmt.Errorf("read cpu time: %w", err)
		}
		s, err := parseStat(string(stat))
		if err != nil {
			return usage{}, err
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return usage{}, fmt.Errorf("read resident size: %w", err)
		}
		resident, err := strconv.ParseInt(strings.TrimSuffix(statusField(string(status), "VmRSS"), " kB"), 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("parse resident size: %w", err)
		}
		total.User += s.user
		total.System += s.system
		total.ResidentKiB += resident
	}
	return total, nil
}

// descendants returns root and every process below it.
func descendants(root int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid, and only a bad one is an error
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended since the listing
		}
		if s, err := parseStat(string(text)); err == nil {
			children[s.parent] = append(children[s.parent], s.pid)
		}
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// stat is what is needed of /proc/<pid>/stat.
type stat struct {
	pid, parent  int
	user, system time.Duration
}

var errStat = errors.New("parse /proc stat: not in the form that proc(5) describes")

// parseStat reads the line of /proc/<pid>/stat. The command's name, in parentheses, may hold spaces and parentheses itself.
func parseStat(line string) (stat, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return stat{}, errStat
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return stat{}, errStat
	}
	// From the third field on: state, parent, ... utime is field 14, stime 15.
	fields := strings.Fields(line[end+1:])
	if len(fields) < 13 {
		return stat{}, errStat
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.ParseUint(fields[11], 10, 36)
	system, err3 := strconv.ParseUint(fields[12], 10, 36)
	if err1 != nil || err2 != nil || err3 != nil {
		return stat{}, errStat
	}
	const tick = time.Second / ticksPerSecond
	return stat{pid: pid, parent: parent, user: time.Duration(user) * tick, system: time.Duration(system) * tick}, nil
}
