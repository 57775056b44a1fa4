package admin

import (
	"encoding/json"
	"fmt"
	"testing"
)

// What is accepted must be JSON to others too, and mean the same to them.
func FuzzEndpointChange(f *testing.F) {
	for _, seed := range []string{
		`{"mode": "drained", "weight": 5}`, `{"weight": null}`, `{"\u006dode":"\ud83d\ude00"}`, `{"mode":"enabled","mode":1}`,
		`{"weight": -0}`, `{"weight": 1E2}`, "{\"a\xff\": 1}", `{"a": {"b": [1, 2, {"c": null}]}}`, `{"weight":5} `, "{\"mode\":\"a\tb\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		change, problems, err := parseEndpointChange(body)
		if err != nil {
			return
		}
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%q was taken for JSON: %v", body, err)
		}
		if len(problems) > 0 {
			return
		}
		want := EndpointChange{}
		for name, value := range members {
			switch v := value.(type) {
			case string:
				want.Mode = v
			case float64:
				want.Weight = new(int(v))
			case nil:
				want.ResetWeight = true
			default:
				t.Fatalf("%q: %s is accepted as %T", body, name, v)
			}
		}
		if fmt.Sprint(change.Mode, deref(change.Weight), change.ResetWeight) != fmt.Sprint(want.Mode, deref(want.Weight), want.ResetWeight) {
			t.Errorf("%q: read as %+v, want %+v", body, change, want)
		}
	})
}

func deref(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}
