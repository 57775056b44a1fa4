package config

import (
	"fmt"
	"strings"
)

// environment is the set of variables a document may read, and those it did.
type environment struct {
	values map[string]string
	used   map[string]bool
}

func newEnvironment(env []string) environment {
	e := environment{values: make(map[string]string, len(env)), used: map[string]bool{}}
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			e.values[name] = value
		}
	}
	return e
}

// expand replaces ${NAME} and ${NAME:-default} in text. Only names of upper-
// case letters, digits and underscores are read from the environment: anything
// else in ${...} belongs to templates and regular expressions and stays.
//
// `$${` is a literal `${`. In a template it stays as written, since the
// template has the same escape, and a value from the environment is escaped so
// that it is never taken for a template itself.
func (e environment) expand(text string, template bool) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			if template {
				b.WriteString(text[:i+2])
			} else {
				b.WriteString(text[:i-1] + "${")
			}
			text = text[i+2:]
			continue
		}
		b.WriteString(text[:i])
		text = text[i:]
		name := environmentName(text[2:])
		if name == "" {
			b.WriteString("${")
			text = text[2:]
			continue
		}
		value, length, err := e.variable(name, text)
		if err != nil {
			return "", err
		}
		if template {
			value = strings.ReplaceAll(value, "${", "$${")
		}
		b.WriteString(value)
		text = text[length:]
	}
}

// variable returns the value of the reference to name at the start of text,
// and the reference's length.
func (e environment) variable(name, text string) (value string, length int, err error) {
	end := strings.IndexByte(text, '}')
	if end < 0 {
		return "", 0, fmt.Errorf("reference to ${%s is not closed", name)
	}
	e.used[name] = true
	value, set := e.values[name]
	rest := text[2+len(name) : end]
	fallback, hasFallback := strings.CutPrefix(rest, ":-")
	switch {
	case rest != "" && !hasFallback:
		return "", 0, fmt.Errorf("expected ${%s} or ${%s:-default}, got %s", name, name, text[:end+1])
	case hasFallback && value == "":
		value = fallback
	case !set && !hasFallback:
		return "", 0, fmt.Errorf("environment variable %s is not set and has no default", name)
	}
	return value, end + 1, nil
}

// environmentName returns the environment variable's name at the start of s,
// or "" when what stands there is not one.
func environmentName(s string) string {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n] >= 'A' && s[n] <= 'Z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	if n < len(s) && s[n] != '}' && s[n] != ':' {
		return ""
	}
	return s[:n]
}
