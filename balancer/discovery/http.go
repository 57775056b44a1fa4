package discovery

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// TLS is how a registry that is asked over HTTPS is known, and how it knows us.
// The zero value trusts the system's authorities.
type TLS struct {
	// CAFile holds the authorities that are trusted, in place of the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate; empty means none.
	CertFile, KeyFile string
	// ServerName is the name that the certificate must be for, in place of the host
	// that is connected to.
	ServerName string
	// SkipVerify trusts whoever answers.
	SkipVerify bool
}

// Config reads the files.
func (t TLS) Config() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify, //nolint:gosec // the operator's explicit choice
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read authorities: no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// Client returns a client for one registry. Answers may be long in coming: each
// request has a context with its own limit. Redirects are not followed, because
// they would take the token to somewhere else, and no proxy of the environment is
// asked, because registries are within. The caller closes idle connections.
func (t TLS) Client() (*http.Client, error) {
	config, err := t.Config()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		// An answer that is waited for says nothing for minutes: whether anybody is
		// still there only probes tell.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConns:        2,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// StatusError is an HTTP answer other than 200.
type StatusError struct {
	Code int
	// Text is the beginning of the body, in one line.
	Text string
}

// Error returns code and text.
func (e *StatusError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("answered %d: %s", e.Code, e.Text), ": ")
}

// maxText is how much of a body that says why is kept.
const maxText = 200

// CheckStatus returns a *StatusError unless the answer is 200.
func CheckStatus(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	// What cannot be read of an explanation is not explained.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxText))
	return &StatusError{Code: resp.StatusCode, Text: strings.Join(strings.Fields(string(text)), " ")}
}

// ErrTooLarge is the failure of an answer over its limit.
var ErrTooLarge = errors.New("answer is too large")

// DecodeJSON decodes a body of at most limit bytes.
func DecodeJSON(body io.Reader, limit int64, v any) error {
	bounded := &io.LimitedReader{R: body, N: limit + 1}
	err := json.NewDecoder(bounded).Decode(v)
	if bounded.N <= 0 {
		return ErrTooLarge
	}
	return err
}

// Token is a secret that authorises requests: given as it is, or in a file that is
// read for every request, so that it may be replaced at any time.
type Token struct {
	Value, File string
}

// Read returns the token, empty if there is none.
func (t Token) Read() (string, error) {
	if t.File == "" {
		return t.Value, nil
	}
	data, err := os.ReadFile(t.File)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("read token: %s is empty", t.File)
	}
	return token, nil
}
