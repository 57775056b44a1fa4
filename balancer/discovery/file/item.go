package file

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/salgue441/velocity/balancer/discovery"
)

// maxWeight is the largest weight that balancers know.
const maxWeight = 1<<16 - 1

// item is one entry of the list.
type item struct {
	URL      string            `json:"url" yaml:"url"`
	Address  string            `json:"address" yaml:"address"`
	Targets  []string          `json:"targets" yaml:"targets"`
	Labels   map[string]string `json:"labels" yaml:"labels"`
	Weight   *int              `json:"weight" yaml:"weight"`
	Priority int               `json:"priority" yaml:"priority"`
	Zone     string            `json:"zone" yaml:"zone"`
}

func (i item) appendTo(targets []discovery.Target) ([]discovery.Target, error) {
	list := i.Targets
	for _, one := range []string{i.URL, i.Address} {
		if one == "" {
			continue
		}
		if list != nil {
			return nil, errors.New("more than one of url, address and targets")
		}
		list = []string{one}
	}
	if list == nil {
		return nil, errors.New("none of url, address and targets")
	}
	if i.Priority < 0 {
		return nil, fmt.Errorf("priority %d is negative", i.Priority)
	}
	t := discovery.Target{Priority: i.Priority, Zone: i.Zone}
	if t.Zone == "" {
		t.Zone = i.Labels["zone"]
	}
	if i.Weight != nil {
		if *i.Weight < 0 || *i.Weight > maxWeight {
			return nil, fmt.Errorf("weight %d is not within 0 to %d", *i.Weight, maxWeight)
		}
		t.Weight, t.Draining = *i.Weight, *i.Weight == 0
	}
	for _, text := range list {
		address, err := parseAddress(text)
		if err != nil {
			return nil, err
		}
		t.Address = address
		targets = append(targets, t)
	}
	return targets, nil
}

// parseAddress reads host:port or the URL of a server.
func parseAddress(text string) (string, error) {
	defaultPort, host := 0, text
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		u, err := url.Parse(text)
		if err != nil {
			return "", fmt.Errorf("%q is not a URL", text)
		}
		switch strings.ToLower(scheme) {
		case "http", "h2c", "ws":
			defaultPort = 80
		case "https", "h2", "wss":
			defaultPort = 443
		default:
			return "", fmt.Errorf("URL %q is neither http nor https", u.Redacted())
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
			return "", fmt.Errorf("URL %q has more than a host and a port", u.Redacted())
		}
		host = u.Host
	}
	host, port, err := discovery.SplitAddress(host, defaultPort)
	if err != nil {
		return "", err
	}
	return discovery.Address(host, port)
}
