//go:build !race

package jwt

import "testing"

func TestCachedTokenAllocatesNothing(t *testing.T) {
	v := newVerifier(t, Settings{PEM: publicPEM(public("rs"))})
	token, at := sign("RS256", "", claims(), signers()["rs"]), now()
	verify := func() {
		if _, err := v.Verify(token, at); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	if n := testing.AllocsPerRun(1000, verify); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
