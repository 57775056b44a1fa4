package gateway

import "github.com/salgue441/velocity/admin"

// RateLimits implements admin.Runtime.
func (g *Gateway) RateLimits() []admin.RateLimit { return nil }

// RateLimitKey implements admin.Runtime.
func (g *Gateway) RateLimitKey(name, _, _ string) (admin.KeyState, error) {
	return admin.KeyState{}, &admin.NotFound{Kind: admin.KindRateLimit, Name: name}
}

// ResetRateLimitKey implements admin.Runtime.
func (g *Gateway) ResetRateLimitKey(name, _, _ string) error {
	return &admin.NotFound{Kind: admin.KindRateLimit, Name: name}
}
