package health

import (
	"bytes"
	"errors"
	"testing"
)

func TestCheckRequestBytes(t *testing.T) {
	f := func(service, want string) {
		t.Helper()
		if got := appendMessage(nil, appendCheckRequest(nil, service)); string(got) != want {
			t.Errorf("service %q: %q, want %q", service, got, want)
		}
	}
	f("", "\x00\x00\x00\x00\x00")
	f("a", "\x00\x00\x00\x00\x03\x0a\x01a")
	f("users.v1.Users", "\x00\x00\x00\x00\x10\x0a\x0eusers.v1.Users")
	long := string(bytes.Repeat([]byte("s"), 300))
	f(long, "\x00\x00\x00\x01\x2f\x0a\xac\x02"+long)
}

func TestCutMessage(t *testing.T) {
	f := func(answer, want string, wantErr error) {
		t.Helper()
		got, err := cutMessage([]byte(answer))
		if string(got) != want || !errors.Is(err, wantErr) {
			t.Errorf("%q: %q, %v, want %q, %v", answer, got, err, want, wantErr)
		}
	}
	f("\x00\x00\x00\x00\x02\x08\x01", "\x08\x01", nil)
	f("\x00\x00\x00\x00\x00", "", nil)
	f("\x00\x00\x00\x00\x01ab", "a", nil)
	f("", "", errMessageShort)
	f("\x00\x00\x00\x00", "", errMessageShort)
	f("\x00\x00\x00\x00\x03\x08\x01", "", errMessageShort)
	f("\x00\xff\xff\xff\xff\x08\x01", "", errMessageShort)
	f("\x01\x00\x00\x00\x02\x08\x01", "", errMessageCompressed)
}

func TestServingStatus(t *testing.T) {
	f := func(message string, want uint64, wantErr error) {
		t.Helper()
		got, err := servingStatus([]byte(message))
		if !errors.Is(err, wantErr) || err == nil && got != want {
			t.Errorf("%q: %d, %v, want %d, %v", message, got, err, want, wantErr)
		}
	}
	f("", 0, nil) // UNKNOWN is 0, and left out
	f("\x08\x00", 0, nil)
	f("\x08\x01", 1, nil)
	f("\x08\x02", 2, nil)
	f("\x08\x03", 3, nil)
	f("\x08\x81\x00", 1, nil) // longer than needed
	f("\x08\x02\x08\x01", 1, nil)
	f("\x10\x05\x08\x01", 1, nil)                             // field 2, a varint
	f("\x11\x00\x00\x00\x00\x00\x00\x00\x00\x08\x01", 1, nil) // field 2, 64 bits
	f("\x12\x02\x08\x02\x08\x01", 1, nil)                     // field 2, bytes
	f("\x15\x00\x00\x00\x00\x08\x01", 1, nil)                 // field 2, 32 bits
	f("\x0a\x01x\x08\x01", 1, nil)                            // field 1 of another type
	f("\x08", 0, errMessageMalformed)
	f("\x00\x01", 0, errMessageMalformed)
	f("\x0b", 0, errMessageMalformed) // a group
	f("\x12", 0, errMessageMalformed)
	f("\x12\x05a", 0, errMessageShort)
	f("\x15\x00", 0, errMessageShort)
	f("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0, errMessageMalformed)
	f("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0, errMessageShort)
}

func TestGRPCNames(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(statusName(0), "UNKNOWN")
	f(statusName(1), "SERVING")
	f(statusName(2), "NOT_SERVING")
	f(statusName(3), "SERVICE_UNKNOWN")
	f(statusName(9), "unknown serving status 9")
	f(codeName(0), "OK")
	f(codeName(14), "UNAVAILABLE")
	f(codeName(16), "UNAUTHENTICATED")
	f(codeName(17), "17")
}

// FuzzServingStatus: what an endpoint sends is read without a panic, and reading
// what a check request is made of finds no status in it.
func FuzzServingStatus(f *testing.F) {
	for _, seed := range []string{"", "\x08\x01", "\x12\x02\x08\x02\x08\x01", "\x0a\x01x", "\x08", "\x12\xff\xff\x03"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if message, err := cutMessage(b); err == nil && len(message) > len(b)-5 {
			t.Errorf("message of %d bytes in %d", len(message), len(b))
		}
		if status, err := servingStatus(b); err != nil && status != 0 {
			t.Errorf("status %d beside %v", status, err)
		}
		if status, err := servingStatus(appendCheckRequest(nil, string(b))); err != nil || status != 0 {
			t.Errorf("a request reads as status %d, %v", status, err)
		}
		got, err := cutMessage(appendMessage(nil, b))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("message %q came back as %q, %v", b, got, err)
		}
	})
}
