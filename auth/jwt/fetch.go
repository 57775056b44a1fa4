package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxDocument  = 1 << 20 // bytes of a key set or a discovery document
	maxRedirects = 3
)

// fetched is the outcome of a good fetch.
type fetched struct {
	keys    []key
	skipped error
	next    time.Duration // until the next
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// checkRedirect follows a few redirects, and none that gives up TLS: what is
// fetched decides who gets in.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if req.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https" {
		return errors.New("redirect from https to " + req.URL.Scheme)
	}
	return nil
}

// fetch gets the key set, having found its address first if need be.
func (r *remote) fetch(ctx context.Context) (fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, r.s.Timeout)
	defer cancel()
	address := r.s.JWKSURL
	if r.s.Discover {
		var err error
		if address, err = r.discover(ctx); err != nil {
			return fetched{}, fmt.Errorf("discovery: %w", err)
		}
	}
	body, head, err := r.get(ctx, address)
	if err != nil {
		return fetched{}, fmt.Errorf("key set: %w", err)
	}
	keys, skipped, err := parseJWKS(body, r.s.Algorithms, true)
	if err != nil {
		return fetched{}, err
	}
	next := r.s.Refresh
	if age := maxAge(head); age > 0 {
		next = min(max(age, r.s.MinRefresh), r.s.Refresh)
	}
	return fetched{keys: keys, skipped: skipped, next: next}, nil
}

// discover asks the issuer where its keys are (OpenID Connect Discovery 1.0, 4).
func (r *remote) discover(ctx context.Context) (address string, err error) {
	body, _, err := r.get(ctx, strings.TrimSuffix(r.s.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	doc, ok := parseObject(body)
	if !ok {
		return "", errors.New("not a JSON object, or a member is there twice")
	}
	if got := text(doc, "issuer"); got != r.s.Issuer {
		return "", fmt.Errorf("the document is of issuer %q, not %q", got, r.s.Issuer)
	}
	address = text(doc, "jwks_uri")
	if errs := checkURL("jwks_uri", address); errs != nil {
		return "", errors.Join(errs...)
	}
	if strings.HasPrefix(r.s.Issuer, "https:") && !strings.HasPrefix(address, "https:") {
		return "", fmt.Errorf("jwks_uri %q gives up TLS", address)
	}
	return address, nil
}

func (r *remote) get(ctx context.Context, address string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("GET %s answered %d", address, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, nil, err
	}
	if len(body) > maxDocument {
		return nil, nil, fmt.Errorf("GET %s answered with more than %d bytes", address, maxDocument)
	}
	return body, resp.Header, nil
}

// maxAge returns how long an answer is fresh by its Cache-Control, less its Age;
// 0 if it does not say or must not be kept.
func maxAge(h http.Header) time.Duration {
	age := time.Duration(0)
	for _, d := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(d)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0
			}
			age = time.Duration(n) * time.Second
		}
	}
	if n, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		age -= time.Duration(n) * time.Second
	}
	return max(age, 0)
}
