// Package e2e drives the built binary as its users do: command lines,
// configuration files, signals and sockets. It owns the proof that the parts
// work together; what one package does alone is that package's to test. Tests
// that measure do not run beside others.
package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/salgue441/velocity/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// settings take free ports, stop at once and log no requests.
const settings = `
server: {host: 127.0.0.1, port: 0, shutdown: {delay: 0s, timeout: 5s}}
admin: {port: 0}
observability: {access_log: {enabled: false}}
`

// unwatched are settings for tests that reload when they want to.
const unwatched = `
server: {host: 127.0.0.1, port: 0, watch: false, shutdown: {delay: 0s, timeout: 5s}}
admin: {port: 0}
observability: {access_log: {enabled: false}}
`

// start runs a gateway with a document of its own and returns the file's path.
func start(t *testing.T, document string) (g *testkit.Process, path string) {
	t.Helper()
	path = testkit.WriteFile(t, t.TempDir(), "gateway.yaml", document)
	return testkit.StartGateway(t, path), path
}

// example is a file of configs/.
func example(t *testing.T, name string) string {
	t.Helper()
	return testkit.ReadFile(t, filepath.Join(testkit.Root(t), "configs", name))
}

// status is what tests ask of GET /admin/v1/status.
type status struct {
	Ready    bool
	Draining bool
	Config   struct {
		Hash       string
		Revision   int
		LastReload struct {
			Success  bool
			Error    string
			Problems []struct {
				File string
				Line int
				Path string
			}
		} `json:"last_reload"`
	}
}

func statusOf(t *testing.T, g *testkit.Process) status {
	t.Helper()
	var s status
	testkit.Get(t, g.Admin, "/admin/v1/status").JSON(t, &s)
	return s
}

// endpoint is what tests ask of GET /admin/v1/upstreams.
type endpoint struct {
	URL   string
	Up    bool
	Since string
	Cause string
}

// endpointsOf returns the endpoints of an upstream.
func endpointsOf(t *testing.T, g *testkit.Process, upstream string) []endpoint {
	t.Helper()
	var list struct {
		Upstreams []struct {
			Name      string
			Endpoints []endpoint
		}
	}
	testkit.Get(t, g.Admin, "/admin/v1/upstreams").JSON(t, &list)
	for _, u := range list.Upstreams {
		if u.Name == upstream {
			return u.Endpoints
		}
	}
	t.Fatalf("no upstream %s", upstream)
	return nil
}
