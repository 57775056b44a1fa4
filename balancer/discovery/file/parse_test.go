package file

import (
	"reflect"
	"strings"
	"testing"

	"github.com/salgue441/velocity/balancer/discovery"
)

const documented = `
- 10.0.0.1:8080
- http://10.0.0.2:8080
- {url: "http://10.0.0.3:8080", weight: 5, priority: 1, zone: eu-1a}
- {address: "10.0.0.4:8080", weight: 0}
- {targets: ["10.0.0.5:8080", "10.0.0.6:8080"], labels: {zone: eu-1b}}
`

const documentedJSON = `[
	"10.0.0.1:8080",
	"http://10.0.0.2:8080",
	{"url": "http://10.0.0.3:8080", "weight": 5, "priority": 1, "zone": "eu-1a"},
	{"address": "10.0.0.4:8080", "weight": 0},
	{"targets": ["10.0.0.5:8080", "10.0.0.6:8080"], "labels": {"zone": "eu-1b", "job": "users"}}
]`

func TestParse(t *testing.T) {
	f := func(name, text string, want ...discovery.Target) {
		t.Helper()
		got, err := Parse(name, []byte(text))
		if err != nil || len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%s) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	all := []discovery.Target{
		{Address: "10.0.0.1:8080"},
		{Address: "10.0.0.2:8080"},
		{Address: "10.0.0.3:8080", Weight: 5, Priority: 1, Zone: "eu-1a"},
		{Address: "10.0.0.4:8080", Draining: true},
		{Address: "10.0.0.5:8080", Zone: "eu-1b"},
		{Address: "10.0.0.6:8080", Zone: "eu-1b"},
	}
	f("a.yaml", documented, all...)
	f("a.json", documentedJSON, all...)
	f("a", documentedJSON, all...)
	f("a", documented, all...)
	f("a.yml", "[]")
	f("a.json", " [ ] ")
	f("a.json", "\ufeff[]")
	f("a.yml", "# nobody\n---\n[]\n")
	f("a", "- url: http://users/\n", discovery.Target{Address: "users:80"})
	f("a", "- https://[2001:DB8::1]\n- \"[::1]:80\"\n", discovery.Target{Address: "[2001:db8::1]:443"}, discovery.Target{Address: "[::1]:80"})
}

func TestParseErrors(t *testing.T) {
	f := func(name, text, want string) {
		t.Helper()
		got, err := Parse(name, []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), name+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Parse(%q) = %v, %v, want %s%s", text, got, err, name, want)
		}
	}
	f("a.yaml", "", ":1: file is empty")
	f("a.json", " \n", ":1: file is empty")
	f("a.yaml", "# nothing\n", ":1: file is empty")
	f("a.yaml", "a: b\n", ":1: expected a list")
	f("a.json", "{}", ":1: expected a list")
	f("a.yaml", "- a:1\n- b:2\n- c\n", ":3: \"c\" is not host:port")
	f("a.json", "[\n\"a:1\",\n\"c\"\n]", ":3: \"c\" is not host:port")
	f("a.yaml", "- a:1\n- url: http://b\n  wieght: 5\n", ":3: unknown field \"wieght\"")
	f("a.json", "[\n{\"url\": \"http://b\",\n\"wieght\": 5}\n]", ":2: json: unknown field \"wieght\"")
	f("a.yaml", "- a:1\n- {\n", ":2: ")
	f("a.json", "[\n\"a:1\",\n", ":3: unexpected end")
	f("a.json", "[\n\"a:1\",\n,", ":3: ")
	f("a.json", "[\"a:1\"]\n[]", ":2: invalid character")
	f("a.json", "null", ":1: expected a list")
	f("a.yaml", "[\"a:1\"]\n---\n[]\n", ":3: expected nothing")
	f("a.json", "[null]", ":1: expected an address or an object")
	f("a.json", "[5]", ":1: expected an address or an object")
	f("a.yaml", "- 5\n", ":1: expected an address or an object")
	f("a.yaml", "- [a]\n", ":1: expected an address or an object")
	f("a.yaml", "- {weight: 5}\n", ":1: none of")
	f("a.yaml", "- {url: \"http://a\", address: \"a:1\"}\n", ":1: more than one")
	f("a.yaml", "- {url: \"http://a\", weight: 65536}\n", ":1: weight 65536")
	f("a.yaml", "- {url: \"http://a\", weight: -1}\n", ":1: weight -1")
	f("a.yaml", "- {url: \"http://a\", priority: -1}\n", ":1: priority -1")
	f("a.yaml", "- ftp://a\n", ":1: URL \"ftp://a\" is neither")
	f("a.yaml", "- http://u:secret@a\n", ":1: URL \"http://u:xxxxx@a\" has more")
	f("a.yaml", "- http://a/path\n", ":1: URL")
	f("a.yaml", "- 0.0.0.0:80\n", ":1: 0.0.0.0 is not")
}

func FuzzParse(f *testing.F) {
	f.Add("a.yaml", documented)
	f.Add("a.json", documentedJSON)
	f.Add("a", "- &a {url: *a}\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		targets, err := Parse(name, []byte(text))
		for _, target := range targets {
			host, port, splitErr := discovery.SplitAddress(target.Address, 0)
			if err != nil || splitErr != nil || host == "" || port == 0 || target.Weight < 0 || target.Weight > maxWeight {
				t.Errorf("target %+v, %v", target, err)
			}
		}
	})
}
