package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/salgue441/velocity/admin"
	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/gateway"
)

const checkUsage = `velocity check --config FILE

Loads and builds a configuration as a start or a reload would, and starts
nothing. Every problem is printed on a line of its own with file, line and
path, misspelt keys with the nearest right one. Warnings, such as a route that
another one always shadows, do not fail the check unless --strict is given.

Flags:
  --config FILE   the configuration (default configs/gateway.yaml)
  --strict        warnings fail the check too

Exit codes: 0 the configuration is good, 1 it is bad, 2 bad command line.
`

func (p *program) check(args []string) int {
	fs := p.flags("check", checkUsage)
	path := fs.String("config", defaultConfig, "")
	strict := fs.Bool("strict", false, "")
	operands, code, done := p.parse(fs, args)
	if done {
		return code
	}
	if !p.noOperands("check", operands) {
		return exitUsage
	}
	c, err := gateway.Check(*path, p.env)
	if err != nil {
		return p.configError(err)
	}
	p.printProblems(p.stderr, c.Warnings)
	if *strict && len(c.Warnings) > 0 {
		fmt.Fprintf(p.stderr, "velocity: %s, and --strict\n", plural(len(c.Warnings), "warning"))
		return exitConfig
	}
	fmt.Fprintf(p.stdout, "%s: ok, %s, %s\n", *path,
		plural(len(c.Config.Routes), "route"), plural(len(c.Config.Upstreams), "named upstream"))
	return exitOK
}

const explainUsage = `velocity explain --config FILE METHOD URL [-H 'NAME: VALUE']...

Says what the gateway would do with a request, without sending anything: which
route wins, why each of the others lost, and the phases the request would meet.
It takes the same code as a real request.

  velocity explain GET http://api.example.com/api/v1/users -H 'X-Canary: 1'

Flags:
  --config FILE        the configuration (default configs/gateway.yaml)
  -H 'NAME: VALUE'     a request header; may be repeated
  --client ADDRESS     the client's address (default 127.0.0.1)
  --json               print JSON, as GET /admin/v1/explain answers

Exit codes: 0 the request is taken, 1 the configuration is bad, 2 bad
command line, 3 the request would be refused.
`

// headerFlags collects -H.
type headerFlags [][2]string

func (h *headerFlags) String() string { return "" }

func (h *headerFlags) Set(s string) error {
	name, value, ok := strings.Cut(s, ":")
	if !ok || strings.TrimSpace(name) == "" {
		return fmt.Errorf("header %q is not 'NAME: VALUE'", s)
	}
	*h = append(*h, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	return nil
}

func (p *program) explain(args []string) int {
	fs := p.flags("explain", explainUsage)
	path := fs.String("config", defaultConfig, "")
	client := fs.String("client", "", "")
	asJSON := fs.Bool("json", false, "")
	var headers headerFlags
	fs.Var(&headers, "H", "")
	operands, code, done := p.parse(fs, args)
	if done {
		return code
	}
	if len(operands) != 2 {
		fmt.Fprintln(p.stderr, "velocity: explain takes a method and a URL; see velocity explain --help")
		return exitUsage
	}
	e, err := gateway.Explain(*path, p.env, strings.ToUpper(operands[0]), operands[1], headers, *client)
	if err != nil {
		var problems config.Problems
		if errors.As(err, &problems) {
			return p.configError(err)
		}
		fmt.Fprintln(p.stderr, "velocity:", err)
		return exitUsage
	}
	if *asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(e); err != nil {
			fmt.Fprintln(p.stderr, "velocity:", err)
			return exitFailure
		}
	} else {
		p.printExplanation(e)
	}
	if e.Code != "" {
		return exitFailure
	}
	return exitOK
}

func (p *program) printExplanation(e admin.Explanation) {
	fmt.Fprintf(p.stdout, "%s %s\n", e.Method, e.URL)
	if e.CanonicalPath != "" {
		fmt.Fprintf(p.stdout, "path    %s\n", e.CanonicalPath)
	}
	if e.Route != "" {
		fmt.Fprintf(p.stdout, "route   %s\n", e.Route)
	}
	if e.Status != 0 {
		fmt.Fprintf(p.stdout, "answer  %d%s%s\n", e.Status, codeText(e.Code), allowText(e.Allow))
	}
	for i, phase := range e.Phases {
		label := "phases  "
		if i > 0 {
			label = "        "
		}
		fmt.Fprintf(p.stdout, "%s%d. %s\n", label, i+1, phase)
	}
	if len(e.Candidates) == 0 {
		return
	}
	fmt.Fprintf(p.stdout, "\ncandidates, in order of precedence\n")
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, c := range e.Candidates {
		mark := " "
		if c.Won {
			mark = "*"
		}
		fmt.Fprintf(w, "%s %s\t%s\t%s\n", mark, c.Route, c.Origin, c.Reason)
	}
	_ = w.Flush() // as any print to the terminal
}

func codeText(code string) string {
	if code == "" {
		return " by the gateway itself"
	}
	return " " + code
}

func allowText(allow []string) string {
	if len(allow) == 0 {
		return ""
	}
	return ", Allow: " + strings.Join(allow, ", ")
}
