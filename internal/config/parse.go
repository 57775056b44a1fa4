package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
)

// parseScalar sets dst to the value that text stands for. Its errors say what
// was expected.
func parseScalar(text string, dst reflect.Value) error {
	switch p := dst.Addr().Interface().(type) {
	case *Duration:
		return store(p, text, parseDuration)
	case *Size:
		return store(p, text, parseSize)
	case *MemoryLimit:
		return store(p, text, parseMemoryLimit)
	case *StatusRange:
		return store(p, text, parseStatusRange)
	case *netip.Prefix:
		return store(p, text, parsePrefix)
	case *FileMode:
		return store(p, text, parseFileMode)
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("expected true or false, got %q", text)
		}
		dst.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("number %s is out of range", text)
		}
		if err != nil {
			return fmt.Errorf("expected a whole number, got %q", text)
		}
		dst.SetInt(int64(n))
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != x {
			return fmt.Errorf("expected a number, got %q", text)
		}
		dst.SetFloat(x)
	default:
		panic("BUG: no scalar of type " + dst.Type().String())
	}
	return nil
}

func store[T any](dst *T, text string, parse func(string) (T, error)) error {
	v, err := parse(text)
	if err == nil {
		*dst = v
	}
	return err
}

// parsePrefix reads a CIDR, or one address as the CIDR that holds only it.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("expected an address or a CIDR such as 10.0.0.0/8, got %q", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("CIDR %s has bits set beyond its length; write %s", s, p.Masked())
	}
	return p, nil
}

func parseFileMode(s string) (FileMode, error) {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil || m > 0o777 || !strings.HasPrefix(s, "0") {
		return 0, fmt.Errorf("expected permissions in octal such as 0660, got %q", s)
	}
	return FileMode(m), nil
}

// checkRange reports a value outside the field's tags. Durations and sizes are
// never negative, whatever their tags say.
func checkRange(f *field, v reflect.Value) error {
	if f.lowest.IsValid() && less(v, f.lowest) {
		if f.min == "0" {
			return errors.New("must not be negative")
		}
		return fmt.Errorf("must be at least %s", f.min)
	}
	if f.highest.IsValid() && less(f.highest, v) {
		return fmt.Errorf("must be at most %s", f.max)
	}
	return nil
}

func less(a, b reflect.Value) bool {
	if a.CanFloat() {
		return a.Float() < b.Float()
	}
	return a.Int() < b.Int()
}

// typeName says in words what a scalar of type t is, for problems and for the
// reference.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[MemoryLimit]():
		return "size or share"
	case reflect.TypeFor[Template]():
		return "template"
	case reflect.TypeFor[Secret]():
		return "secret"
	case reflect.TypeFor[StatusRange]():
		return "status or range"
	case reflect.TypeFor[netip.Prefix]():
		return "address or CIDR"
	case reflect.TypeFor[FileMode]():
		return "permissions"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "map of " + typeName(t.Elem())
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Struct:
		return "section"
	}
	return "string"
}
