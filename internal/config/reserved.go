package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parts of the language that this version does not carry out are refused, not
// ignored: a route whose `auth` is accepted but not enforced is an open door.

// reserved returns what a path is reserved for, or "".
func reserved(path []step) string {
	var b strings.Builder
	for _, s := range path {
		switch {
		case s.key == "":
			b.WriteString("[]")
		case b.Len() == 0:
			b.WriteString(s.key)
		default:
			b.WriteString("." + s.key)
		}
	}
	switch b.String() {
	case "database.postgres":
		return "PostgreSQL"
	case "observability.tracing":
		return "tracing"
	case "server.tls":
		return "TLS termination"
	case "routes[].cache":
		return "response caching"
	case "routes[].split":
		return "traffic splitting"
	case "routes[].mirror":
		return "traffic mirroring"
	}
	return ""
}

// reservedPlugin returns what a plugin's name is reserved for, or "".
func reservedPlugin(name string) string {
	switch name {
	case "jwt", "api-key", "basic-auth", "hmac", "oidc", "external-auth":
		return "authentication"
	case "cache":
		return "response caching"
	case "compression":
		return "compression"
	}
	return ""
}

// reservedVariable returns what an environment variable is reserved for, or
// "".
func reservedVariable(name string) string {
	switch name {
	case "VELOCITY_POSTGRES_URL":
		return "PostgreSQL"
	case "VELOCITY_API_KEY_HEADER":
		return "authentication"
	}
	return ""
}

func reservedMessage(purpose string) string {
	return "is reserved for " + purpose + " and this version does not enforce it yet; remove it"
}

// isSwitchedOff reports whether a section says `enabled: false`, which asks
// for nothing and is therefore harmless.
func isSwitchedOff(n *yaml.Node) bool {
	enabled := lookup(n, "enabled")
	return enabled != nil && enabled.Tag == "!!bool" && enabled.Value == "false"
}
