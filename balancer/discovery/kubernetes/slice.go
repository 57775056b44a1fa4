package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/salgue441/velocity/balancer/discovery"
)

// sliceList is a page of a list.
type sliceList struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []slice `json:"items"`
}

// slice is what is read of an EndpointSlice.
type slice struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	AddressType string     `json:"addressType"`
	Endpoints   []endpoint `json:"endpoints"`
	Ports       []port     `json:"ports"`
}

type endpoint struct {
	Addresses  []string `json:"addresses"`
	Conditions struct {
		Ready       *bool `json:"ready"`
		Serving     *bool `json:"serving"`
		Terminating *bool `json:"terminating"`
	} `json:"conditions"`
	Zone string `json:"zone"`
}

// ready reports whether the endpoint takes traffic: nil is yes.
func (e *endpoint) ready() bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// leaving reports whether the endpoint terminates and still answers.
func (e *endpoint) leaving() bool {
	c := e.Conditions
	return !e.ready() && c.Terminating != nil && *c.Terminating && c.Serving != nil && *c.Serving
}

type port struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     *int   `json:"port"`
}

// sliceSet is the slices of a service by name.
type sliceSet map[string]*slice

// apply takes an event and returns the version that the set is then of.
func (known sliceSet) apply(e event) (version string, err error) {
	if e.Type == "ERROR" {
		return "", statusError(e.Object)
	}
	s := new(slice)
	if err := json.Unmarshal(e.Object, s); err != nil {
		return "", fmt.Errorf("read event: %w", err)
	}
	if s.Metadata.ResourceVersion == "" {
		return "", errors.New("read event: it has no version")
	}
	switch e.Type {
	case "ADDED", "MODIFIED":
		known[s.Metadata.Name] = s
	case "DELETED":
		delete(known, s.Metadata.Name)
	case "BOOKMARK":
	default:
		return "", fmt.Errorf("read event: type %q is unknown", e.Type)
	}
	return s.Metadata.ResourceVersion, nil
}

// statusError is what an error within a stream would be as an answer.
func statusError(object []byte) error {
	var status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(object, &status); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	return &discovery.StatusError{Code: status.Code, Text: status.Message}
}

// targets merges the slices. Those of other families than the wanted one are not
// looked at; without a wanted one the first family that has targets counts. With
// an error and targets some endpoints are not usable; with an error alone, none.
func (known sliceSet) targets(wanted string, family Family) ([]discovery.Target, error) {
	families := []Family{family}
	if family == "" {
		families = []Family{IPv4, IPv6, "FQDN"}
	}
	var bad error
	for _, family := range families {
		targets, err := known.targetsOf(wanted, family)
		if len(targets) > 0 {
			return targets, err
		}
		if bad == nil {
			bad = err
		}
	}
	return nil, bad
}

func (known sliceSet) targetsOf(wanted string, family Family) (targets []discovery.Target, bad error) {
	ready := false
	for _, s := range known {
		if Family(s.AddressType) != family || !slices.ContainsFunc(s.Endpoints, usable) {
			continue
		}
		number, err := s.port(wanted)
		if err != nil {
			bad = err
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if !usable(*e) {
				continue
			}
			// All addresses of an endpoint are the same pod, and the first stands for it.
			address, err := discovery.Address(e.Addresses[0], number)
			if err != nil {
				bad = fmt.Errorf("slice %s: %w", s.Metadata.Name, err)
				continue
			}
			ready = ready || e.ready()
			targets = append(targets, discovery.Target{Address: address, Zone: e.Zone, Draining: !e.ready()})
		}
	}
	if !ready {
		for i := range targets {
			targets[i].Draining = false
		}
	}
	return targets, bad
}

func usable(e endpoint) bool { return len(e.Addresses) > 0 && (e.ready() || e.leaving()) }

// port returns the number that the slice's pods have for the wanted port: a named
// port may be another number in each slice.
func (s *slice) port(wanted string) (int, error) {
	number, err := strconv.Atoi(wanted)
	byNumber := err == nil
	var found []int
	for _, p := range s.Ports {
		switch {
		case p.Protocol != "" && p.Protocol != "TCP":
		case p.Port == nil && byNumber: // all ports
			return number, nil
		case p.Port == nil:
		case wanted == "", byNumber && *p.Port == number, p.Name == wanted:
			found = append(found, *p.Port)
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 1 {
		return found[0], nil
	}
	if wanted == "" {
		return 0, fmt.Errorf("slice %s has %d TCP ports: the settings must say which", s.Metadata.Name, len(found))
	}
	return 0, fmt.Errorf("slice %s has no TCP port %s", s.Metadata.Name, wanted)
}
