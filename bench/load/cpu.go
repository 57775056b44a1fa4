//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// placement says on which CPU what runs. The proxy has one to itself; origin and load share another, or have one each where there
// are enough.
type placement struct {
	Proxy   int `json:"proxy"`
	Load    int `json:"load"`
	Backend int `json:"backend"`
}

// chooseCPUs picks CPUs on different physical cores among those that this process may use, the last ones first because the first
// serves most interrupts.
func chooseCPUs() (placement, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return placement{}, fmt.Errorf("read allowed cpus: %w", err)
	}
	allowed, err := parseCPUList(statusField(string(status), "Cpus_allowed_list"))
	if err != nil {
		return placement{}, err
	}
	var cores []int
	seen := map[string]bool{}
	for _, cpu := range allowed {
		siblings, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
		// Without topology every CPU counts as a core of its own.
		key := strings.TrimSpace(string(siblings))
		if err != nil {
			key = strconv.Itoa(cpu)
		}
		if !seen[key] {
			seen[key] = true
			cores = append(cores, cpu)
		}
	}
	switch n := len(cores); {
	case n < 2:
		return placement{}, errors.New("two cores are needed: one for the proxy, one for load and origin")
	case n == 2:
		return placement{Proxy: cores[1], Load: cores[0], Backend: cores[0]}, nil
	default:
		return placement{Proxy: cores[n-1], Load: cores[n-2], Backend: cores[n-3]}, nil
	}
}

// statusField returns the value of a "Name:\tvalue" line, as /proc writes them.
func statusField(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// parseCPUList reads the kernel's list format, such as 0-3,8.
func parseCPUList(s string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse cpu list %q: %w", s, err)
		}
		high, err := strconv.ParseUint(to, 10, 16)
		if err != nil || high < low {
			return nil, fmt.Errorf("parse cpu list %q: bad range %q", s, part)
		}
		for cpu := low; cpu <= high; cpu++ {
			cpus = append(cpus, int(cpu))
		}
	}
	return cpus, nil
}
