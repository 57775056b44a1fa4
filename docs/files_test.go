package docs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// secrets makes the files that documents name by an absolute path, in dir, and returns where they are.
func secrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	files := map[string][]byte{
		"/run/secrets/admin-token":    []byte("a-token-of-sufficient-length\n"),
		"/etc/velocity/admin.crt":     certPEM,
		"/etc/velocity/admin.key":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"/etc/velocity/operators.crt": certPEM,
	}
	names := map[string]string{}
	for name, content := range files {
		names[name] = filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(names[name], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
