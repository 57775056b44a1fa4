package gateway

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/internal/testkit"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// settings take free ports, stop at once and reload only when asked.
const settings = `
server: {host: 127.0.0.1, port: 0, watch: false, shutdown: {delay: 0s, timeout: 5s}}
admin: {port: 0}
observability: {access_log: {enabled: false}}
`

// gatewayIn is a running gateway in the test's own process.
type gatewayIn struct {
	*Gateway
	path string
	addr string
	stop func() error // may be called once more at the end of the test
}

// run starts a gateway; it is stopped at the end of the test.
func run(t *testing.T, document string) *gatewayIn {
	t.Helper()
	path := testkit.WriteFile(t, t.TempDir(), "gateway.yaml", document)
	g, err := New(Options{ConfigPath: path, Log: zapcore.Lock(zapcore.AddSync(&bytes.Buffer{}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &gatewayIn{Gateway: g, path: path, addr: g.Addr().String(), stop: stop}
}

// reload writes a document and applies it.
func (g *gatewayIn) reload(t *testing.T, document string) {
	t.Helper()
	testkit.ReplaceFile(t, g.path, document)
	if changed, err := g.Reload(t.Context()); err != nil || !changed {
		t.Fatalf("Reload: %v, %v", changed, err)
	}
}
