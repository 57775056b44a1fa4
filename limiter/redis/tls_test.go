package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter/redis"
)

// TestTLS verifies the server, and does not connect to one that it cannot verify.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := authority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	server := testkit.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	with := func(_ int, o *redis.Options, _ *node) {
		o.Addresses, o.TLS = []string{address}, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	sameCounts(t, start(t, server, setting{nodes: 2, rules: perYear(100), with: with}))
	other := launch(t, server, setting{nodes: 1, rules: perYear(100), with: func(_ int, o *redis.Options, _ *node) {
		o.Addresses, o.TLS = []string{address}, &tls.Config{MinVersion: tls.VersionTLS12}
	}})
	testkit.Eventually(t, testkit.Patience, "a failure", func() bool { return other[0].s.State().Failures > 0 })
	if other[0].s.State().Connected {
		t.Error("connected to a server that cannot be verified")
	}
}

// authority makes a certificate for the loopback address that verifies itself.
func authority(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert = testkit.WriteFile(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = testkit.WriteFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	pool = x509.NewCertPool()
	pool.AddCert(made)
	return cert, key, pool
}
