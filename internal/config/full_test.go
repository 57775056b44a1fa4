package config

import (
	"os"
	"reflect"
	"testing"
)

// TestFullDocumentSetsEveryKey holds testdata/full.yaml, and listeners.yaml
// beside it, to their word, so that no key can be added whose value does not
// arrive, or is lost in YAML.
func TestFullDocumentSetsEveryKey(t *testing.T) {
	// What names other files has tests of its own.
	set := map[string]bool{
		"Config.include": true, "Admin.token_file": true, "UpstreamTLS.ca_file": true, "Admin.tls": true,
		"Sticky.secret_file": true, "ConsulDiscovery.token_file": true, "ConsulDiscovery.ca_file": true,
		"Redis.url": true, "Redis.addresses": true, "Redis.sentinel_master": true,
		"Redis.cluster": true, "Redis.sentinel_username": true, "Redis.sentinel_password": true, "Redis.password_file": true, "RedisTLS.ca_file": true,
		"RedisTLS.cert_file": true, "RedisTLS.key_file": true, "KubernetesDiscovery.ca_file": true,
		"Auth.secret_file": true, "Auth.public_key_file": true, "Auth.jwks_file": true,
		// A route has one key.
		"Auth.secret": true, "Auth.discover": true,
		"AdminTLS.cert_file": true, "AdminTLS.key_file": true, "AdminTLS.client_ca_file": true,
	}
	ps := newPlans()
	for _, name := range []string{"testdata/full.yaml", "testdata/listeners.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c := parse(t, string(data))
		doc, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again := parse(t, string(doc))
		if !reflect.DeepEqual(again.Redacted(), c.Redacted()) {
			t.Errorf("%s is written as\n%s", name, doc)
		}
		collectSet(ps, reflect.ValueOf(c).Elem(), set)
	}
	for typ, p := range ps {
		for i := range p.fields {
			key := typ.Name() + "." + p.fields[i].name
			if typ != reflect.TypeFor[fragment]() && !set[key] {
				t.Errorf("neither document sets %s", key)
			}
		}
	}
}

func collectSet(ps plans, v reflect.Value, set map[string]bool) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		collectSet(ps, v.Elem(), set)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			collectSet(ps, v.Index(i), set)
		}
	case v.Kind() == reflect.Struct && ps[v.Type()] != nil:
		p := ps[v.Type()]
		for i := range p.fields {
			f := &p.fields[i]
			if !reflect.DeepEqual(v.Field(f.index).Interface(), p.zero.Field(f.index).Interface()) {
				set[v.Type().Name()+"."+f.name] = true
			}
			collectSet(ps, v.Field(f.index), set)
		}
	}
}
