package main

import (
	"bytes"
	"strings"
	"testing"
)

// invoke runs a command in this process.
func invoke(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	p := &program{stdout: &out, stderr: &err}
	code = p.run(args)
	return code, out.String(), err.String()
}

// A script that mistypes a flag must see why in one line of stderr, and
// nothing on stdout that it might take for the answer.
func TestWrongCommandLine(t *testing.T) {
	f := func(wantStderr string, args ...string) {
		t.Helper()
		code, stdout, stderr := invoke(args...)
		if code != exitUsage {
			t.Errorf("%q: exit code %d, want %d", args, code, exitUsage)
		}
		if stdout != "" {
			t.Errorf("%q: stdout %q, want nothing", args, stdout)
		}
		if stderr != wantStderr+"\n" {
			t.Errorf("%q: stderr %q, want %q", args, stderr, wantStderr)
		}
	}
	f(`velocity: unknown command "chekc"; see velocity --help`, "chekc")
	f(`velocity: unknown command "chekc"; see velocity --help`, "help", "chekc")
	f(`velocity: flag provided but not defined: -nope; see velocity --help`, "--nope")
	f(`velocity: unexpected argument "x"; see velocity --help`, "--config", "f", "x")
	f(`velocity: flag provided but not defined: -nope; see velocity check --help`, "check", "--nope")
	f(`velocity: check takes no argument "x"; see velocity check --help`, "check", "x")
	f(`velocity: schema takes no argument "x"; see velocity schema --help`, "schema", "x")
	f(`velocity: version takes no argument "x"; see velocity version --help`, "version", "x")
	f(`velocity: echo takes no argument "x"; see velocity echo --help`, "echo", "x")
	f(`velocity: healthcheck takes no argument "x"; see velocity healthcheck --help`, "healthcheck", "x")
	f(`velocity: explain takes a method and a URL; see velocity explain --help`, "explain", "GET")
	f(`velocity: invalid value "x" for flag -H: header "x" is not 'NAME: VALUE'; see velocity explain --help`,
		"explain", "GET", "http://a/", "-H", "x")
}

func TestHelp(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := invoke(args...)
		if code != exitOK || stderr != "" {
			t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
		}
		if stdout != want {
			t.Errorf("%q: stdout %q, want %q", args, stdout, want)
		}
	}
	f(usage, "help")
	f(usage, "--help")
	f(usage, "-h")
	for command, want := range map[string]string{
		"check": checkUsage, "explain": explainUsage, "schema": schemaUsage, "echo": echoUsage,
		"healthcheck": healthcheckUsage, "token": tokenUsage, "version": versionUsage,
	} {
		f(want, "help", command)
		f(want, command, "--help")
		if !strings.Contains(usage, "\n  "+command+" ") {
			t.Errorf("the general help does not list %s", command)
		}
	}
}
