package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written as `30s`, `1m30s` or `250ms`. Only 0
// may be written without a unit. It is never negative in a loaded Config.
type Duration time.Duration

// String writes the duration as the document does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration as the document does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func parseDuration(s string) (Duration, error) {
	if s == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		if _, numeric := strconv.ParseFloat(s, 64); numeric == nil {
			return 0, fmt.Errorf("expected a duration such as 30s, got %s without a unit", s)
		}
		return 0, fmt.Errorf("expected a duration such as 30s or 1m30s, got %q", s)
	}
	if d < 0 {
		return 0, errors.New("must not be negative")
	}
	return Duration(d), nil
}

// Size is a number of bytes, written as `16384`, `64KiB`, `8MiB` or `1GB`:
// KiB, MiB, GiB are powers of 1024, and kB, MB, GB powers of 1000.
type Size int64

// String writes the size with the largest binary unit that fits evenly.
func (s Size) String() string {
	switch {
	case s == 0:
		return "0"
	case s%(1<<30) == 0:
		return strconv.FormatInt(int64(s>>30), 10) + "GiB"
	case s%(1<<20) == 0:
		return strconv.FormatInt(int64(s>>20), 10) + "MiB"
	case s%(1<<10) == 0:
		return strconv.FormatInt(int64(s>>10), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes the size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func parseSize(text string) (Size, error) {
	number := strings.TrimRight(text, "kKMGiB")
	unit, ok := sizeUnit(text[len(number):])
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("expected a size such as 16384, 64KiB or 8MiB, got %q", text)
	}
	if n < 0 {
		return 0, errors.New("must not be negative")
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %s is out of range", text)
	}
	return Size(n * unit), nil
}

func sizeUnit(name string) (int64, bool) {
	switch name {
	case "", "B":
		return 1, true
	case "KiB":
		return 1 << 10, true
	case "MiB":
		return 1 << 20, true
	case "GiB":
		return 1 << 30, true
	case "kB", "KB":
		return 1e3, true
	case "MB":
		return 1e6, true
	case "GB":
		return 1e9, true
	}
	return 0, false
}

// MemoryLimit is a number of bytes, written as a Size, or a share such as
// `80%`. The zero value means that none is set.
type MemoryLimit int64 // bytes, or minus the percentage

// Percent returns the share in percent, and false for bytes.
func (m MemoryLimit) Percent() (int, bool) { return int(-m), m < 0 }

// String writes the limit as the document does.
func (m MemoryLimit) String() string {
	if percent, ok := m.Percent(); ok {
		return strconv.Itoa(percent) + "%"
	}
	return Size(m).String()
}

// MarshalText writes the limit as String does.
func (m MemoryLimit) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func parseMemoryLimit(text string) (MemoryLimit, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.Atoi(number)
		if err != nil || percent < 1 || percent > 100 {
			return 0, fmt.Errorf("expected a share between 1%% and 100%%, got %q", text)
		}
		return MemoryLimit(-percent), nil
	}
	size, err := parseSize(text)
	if err == nil && size != 0 && size < 16<<20 {
		return 0, errors.New("must be at least 16MiB, or 0")
	}
	return MemoryLimit(size), err
}

// Secret is text that never shows: it prints and marshals as "[redacted]".
type Secret string

const redacted = "[redacted]"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the text. An unset secret stays empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the text from JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Template is text with variables such as `${client_ip}` that are filled in
// for each request. `$${` stands for a literal `${`.
type Template string

// StatusRange is an inclusive range of response statuses, written as `204` or
// `200-399`.
type StatusRange struct{ From, To int }

// Contains reports whether status is in the range.
func (r StatusRange) Contains(status int) bool { return r.From <= status && status <= r.To }

// String writes the range as the document does.
func (r StatusRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return strconv.Itoa(r.From) + "-" + strconv.Itoa(r.To)
}

// MarshalText writes the range as the document does.
func (r StatusRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func parseStatusRange(s string) (StatusRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || from < 100 || to > 599 || from > to {
		return StatusRange{}, fmt.Errorf("expected a status such as 204 or a range such as 200-399, got %q", s)
	}
	return StatusRange{From: from, To: to}, nil
}
