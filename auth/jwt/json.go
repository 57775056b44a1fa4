package jwt

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxDepth is how deeply objects and lists may be nested.
const maxDepth = 16

// parseObject reads a JSON object strictly: valid UTF-8, no member twice at any
// depth, nothing after it. Two readers of the same text cannot disagree on it.
// Numbers stay json.Number, as written.
func parseObject(src []byte) (map[string]any, bool) {
	// The decoder of tokens is lenient about a few commas; Valid is not.
	if !utf8.Valid(src) || !json.Valid(src) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	v, ok := parseValue(d, 0)
	if !ok {
		return nil, false
	}
	m, ok := v.(map[string]any)
	return m, ok
}

func parseValue(d *json.Decoder, depth int) (any, bool) {
	t, err := d.Token()
	if err != nil || depth > maxDepth {
		return nil, false
	}
	switch t {
	case json.Delim('{'):
		return parseMembers(d, depth+1)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, ok := parseValue(d, depth+1)
			if !ok {
				return nil, false
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err == nil
	}
	return t, true
}

func parseMembers(d *json.Decoder, depth int) (any, bool) {
	m := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, false
		}
		name, ok := t.(string)
		if !ok {
			return nil, false
		}
		if _, twice := m[name]; twice {
			return nil, false
		}
		if m[name], ok = parseValue(d, depth); !ok {
			return nil, false
		}
	}
	_, err := d.Token()
	return m, err == nil
}
