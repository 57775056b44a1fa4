package health

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestJudgeBody(t *testing.T) {
	f := func(body, contains, expression, want string) {
		t.Helper()
		probe := Probe{ExpectBody: contains}
		if expression != "" {
			probe.ExpectBodyRegex = regexp.MustCompile(expression)
		}
		got := ""
		if err := judgeBody(strings.NewReader(body), probe); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("body %.40q, %q, %q: cause %q, want %q", body, contains, expression, got, want)
		}
	}
	f("", "", "", "")
	f("anything", "", "", "")
	f(`{"status":"pass"}`, `"pass"`, "", "")
	f(`{"status":"warn"}`, `"pass"`, "", `body does not contain "\"pass\"": "{\"status\":\"warn\"}"`)
	f("", "ok", "", `body does not contain "ok": ""`)
	f("ready: 3 of 3", "", `^ready: (\d) of 3$`, "")
	f("ready: none of 3", "", `^ready: (\d) of 3$`, `body does not match "^ready: (\\d) of 3$": "ready: none of 3"`)
	f("ok, but old", "ok", "new", `body does not match "new": "ok, but old"`)
	f("old", "ok", "old", `body does not contain "ok": "old"`)

	// Only the beginning counts, and of that only the beginning is shown, so that
	// no terminal takes it for its own.
	filler := strings.Repeat("x", maxBodyBytes-2)
	f(filler+"ok", "ok", "", "")
	f(filler+"xok", "ok", "", `body does not contain "ok": "`+strings.Repeat("x", maxShown)+`" and 65456 bytes more`)
	f("\x1b[2J\r\nä\xff", "ok", "", `body does not contain "ok": "\x1b[2J\r\n\u00e4\xff"`)
}

func TestJudgeBodyThatBreaksOff(t *testing.T) {
	broken := func() io.Reader { return io.MultiReader(strings.NewReader("ok"), brokenReader{}) }
	for _, probe := range []Probe{{}, {ExpectBody: "ok"}} {
		if err := judgeBody(broken(), probe); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", probe.ExpectBody, err)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHTTPProbeJudgesBody(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sick" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, "all good")
	})
	f := func(probe Probe, want string) {
		t.Helper()
		if got := probeOnce(t, probe, Target{URL: server.URL}); got != want {
			t.Errorf("cause %q, want %q", got, want)
		}
	}
	f(Probe{ExpectBody: "good"}, "")
	f(Probe{ExpectBody: "better"}, `body does not contain "better": "all good"`)
	f(Probe{ExpectBodyRegex: regexp.MustCompile("^all (good|fine)$")}, "")
	f(Probe{ExpectBody: "good", Path: "/sick"}, "status 500")
}
