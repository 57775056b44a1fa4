package main

import (
	"strings"
	"testing"
	"time"

	"github.com/salgue441/velocity/auth/jwt"
)

func TestTokenIsAccepted(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	code, stdout, stderr := invoke("token", "--secret", secret, "--claim", "sub=ann", "--claim", `scope=["read"]`, "--claim", "n=3")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	v, err := jwt.New(jwt.Settings{Secret: []byte(secret), Extract: []string{"n"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Verify([]byte(strings.TrimSpace(stdout)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != "ann" || len(id.Scopes) != 1 || id.Scopes[0] != "read" || id.Values[0] != "3" {
		t.Errorf("identity %+v", id)
	}
}

func TestTokenWrongCommandLine(t *testing.T) {
	f := func(want int, args ...string) {
		t.Helper()
		code, stdout, stderr := invoke(append([]string{"token"}, args...)...)
		if code != want || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	f(exitUsage)
	f(exitUsage, "--secret", "a", "--key-file", "b")
	f(exitUsage, "--secret", "a", "--alg", "none")
	f(exitUsage, "--secret", "a", "--claim", "x")
	f(exitFailure, "--secret", "a", "--alg", "RS256")
	f(exitFailure, "--key-file", t.TempDir(), "--alg", "RS256")
}
