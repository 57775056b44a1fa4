package admin

import (
	"net"
	"net/url"
	"slices"
)

// EndpointIDs returns the ID of each endpoint of an upstream from their URLs: host
// and port, or the whole URL where endpoints of different schemes share those.
func EndpointIDs(urls []string) []string {
	ids := make([]string, len(urls))
	owner := make(map[string]string, len(urls)) // the URL of an ID; empty if it has several
	for i, u := range urls {
		ids[i] = hostPort(u)
		if first, taken := owner[ids[i]]; taken && first != u {
			owner[ids[i]] = ""
		} else {
			owner[ids[i]] = u
		}
	}
	for i, u := range urls {
		if owner[ids[i]] == "" {
			ids[i] = u
		}
	}
	return ids
}

// FindEndpoint returns the index of the endpoint that name means among the URLs of
// an upstream: its URL, or its host and port if no other has them. A URL that is
// listed twice is the first. An error is a *NotFound or an *Ambiguous.
func FindEndpoint(urls []string, name string) (int, error) {
	if i := slices.Index(urls, name); i >= 0 {
		return i, nil
	}
	found, matches := -1, []string(nil)
	for i, u := range urls {
		if hostPort(u) != name || slices.Contains(matches, u) {
			continue
		}
		if found < 0 {
			found = i
		}
		matches = append(matches, u)
	}
	switch {
	case found < 0:
		return -1, &NotFound{Kind: "endpoint", Name: name, Known: EndpointIDs(urls)}
	case len(matches) > 1:
		return -1, &Ambiguous{Name: name, URLs: matches}
	}
	return found, nil
}

// hostPort returns host and port of a URL, the scheme's port if it names none. A
// text that is no URL stands for itself.
func hostPort(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return target
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
