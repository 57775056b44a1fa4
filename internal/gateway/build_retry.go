package gateway

import (
	"time"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/proxy"
)

// retryPolicy compiles what a route has under retries.
func retryPolicy(c *config.Retries) proxy.RetryPolicy {
	p := proxy.RetryPolicy{
		Attempts:        c.Attempts,
		Methods:         c.Methods,
		IdempotencyKey:  c.IdempotencyKey,
		PerAttempt:      time.Duration(c.PerAttemptTimeout),
		BackOff:         time.Duration(c.BackOff.Base),
		MaxBackOff:      time.Duration(c.BackOff.Max),
		MaxRetryAfter:   time.Duration(c.MaxRetryAfter),
		RepeatEndpoints: c.RepeatServers,
		BudgetPercent:   c.Budget.Percent,
		BudgetFloor:     c.Budget.Min,
	}
	for _, condition := range c.On {
		switch condition {
		case "connect_failure":
			p.On |= proxy.OnConnectFailure
		case "reset_before_response":
			p.On |= proxy.OnReset
		case "timeout":
			p.On |= proxy.OnTimeout
		case "5xx":
			p.Statuses.Add(500, 599)
		}
	}
	for _, r := range c.Statuses {
		p.Statuses.Add(r.From, r.To)
	}
	for _, h := range c.RetriableHeaders {
		p.Headers = append(p.Headers, proxy.RetriableHeader{Name: h.Name, Value: h.Value})
	}
	return p
}

// hedgePolicy compiles what a route has under hedge, nil for none.
func hedgePolicy(c *config.Hedge) (proxy.HedgePolicy, error) {
	if c == nil {
		return proxy.HedgePolicy{}, nil
	}
	percentile, after, err := c.Delay()
	return proxy.HedgePolicy{
		After:         after,
		Percentile:    percentile,
		Methods:       c.Methods,
		BudgetPercent: c.Budget.Percent,
		BudgetFloor:   c.Budget.Min,
	}, err
}
