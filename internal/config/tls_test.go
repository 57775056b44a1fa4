package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// newKeyPair returns a self-signed certificate and its key, in PEM.
func newKeyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func TestCertificates(t *testing.T) {
	cert, key := newKeyPair(t)
	_, otherKey := newKeyPair(t)
	files := map[string]string{
		"tls/cert.pem": cert, "tls/key.pem": key, "tls/other.pem": otherKey,
		"good.yaml": `
admin: {host: 0.0.0.0, tls: {cert_file: tls/cert.pem, key_file: tls/key.pem, client_ca_file: tls/cert.pem}}
upstreams: [{name: a, targets: [{url: "https://a"}], tls: {ca_file: tls/cert.pem}}]
routes: [{path: /, upstream: a}]`,
		"mismatch.yaml": "admin: {tls: {cert_file: tls/cert.pem, key_file: tls/other.pem}}",
	}
	dir := writeFiles(t, files)
	c, err := Load(filepath.Join(dir, "good.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "good.yaml"), filepath.Join(dir, "tls/cert.pem"), filepath.Join(dir, "tls/key.pem")}
	got := Files(c)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(c.Warnings) != 0 {
		t.Errorf("files %q, warnings %v", got, c.Warnings)
	}
	if c.Admin.TLS.KeyFile != want[2] || c.Upstreams[0].TLS.CAFile != want[1] {
		t.Errorf("paths are not relative to the document: %+v, %+v", c.Admin.TLS, c.Upstreams[0].TLS)
	}
	_, err = Load(filepath.Join(dir, "mismatch.yaml"), nil)
	if err == nil || !strings.Contains(err.Error(), "admin.tls.cert_file: does not go with key_file: tls: private key does not match public key") {
		t.Errorf("mismatch: %v", err)
	}
}
