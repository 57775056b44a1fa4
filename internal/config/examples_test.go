package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

var exampleEnv = []string{"ADMIN_TOKEN=a-token-of-sufficient-length"}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "configs", "examples", "*.yaml"))
	if err != nil || len(files) < 8 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	return append(files, filepath.Join(root, "configs", "gateway.yaml"))
}

func TestExamplesLoad(t *testing.T) {
	for _, name := range exampleFiles(t) {
		c, err := Load(name, exampleEnv)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if len(c.Routes) == 0 {
			t.Errorf("%s has no routes", name)
		}
		for _, w := range c.Warnings {
			if !strings.Contains(w.Message, "unencrypted") {
				t.Errorf("%s: %v", name, w)
			}
		}
	}
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	f := func(name string, generate func() ([]byte, error)) {
		t.Helper()
		want, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./internal/config", name)
		}
	}
	f("configs/schema.json", Schema)
	f("docs/configuration.md", Reference)
}

func TestEveryKeyIsDocumented(t *testing.T) {
	cs, err := readComments()
	if err != nil {
		t.Fatal(err)
	}
	for typ, p := range newPlans() {
		if typ.Name() == "fragment" {
			continue
		}
		if cs[typ.Name()] == "" {
			t.Errorf("%s has no comment", typ.Name())
		}
		for i := range p.fields {
			if cs[typ.Name()+"."+p.fields[i].goName] == "" {
				t.Errorf("%s.%s has no comment", typ.Name(), p.fields[i].goName)
			}
		}
	}
}

// TestReferenceExamplesLoad loads every YAML block of the reference, each of
// which is a whole document.
func TestReferenceExamplesLoad(t *testing.T) {
	page, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) < 8 {
		t.Fatalf("only %d blocks", len(blocks))
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if _, err := Parse("reference.yaml", []byte(text), exampleEnv); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemaAcceptsExamples(t *testing.T) {
	schema := compiledSchema(t)
	for _, name := range append(exampleFiles(t), filepath.Join(root, "configs", "routes.yaml"), "testdata/full.yaml", "testdata/listeners.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compiledSchema(t)
	f := func(text string) {
		t.Helper()
		var doc any
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("accepted %s", text)
		}
	}
	f("sever: {}")
	f("server: {port: 70000}")
	f("server: {port: '8080'}")
	f("server: {read_timeout: 30}")
	f("routes: 5")
	f("server: {read_timeout: fast}")
	f("server: {watch: yes please}")
	f("routes: [{name: no-path}]")
	f("routes: [{path: /, auth: {}}]")
	f("upstreams: [{name: a, discovery: {dns: {}}}]")
	f("observability: {log: {level: loud}}")
}
