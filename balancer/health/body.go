package health

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxShown bounds what a cause shows of an answer, in bytes before quoting.
const maxShown = 80

// judgeBody reads a body to its end or to maxBodyBytes, and looks for what is
// expected in that.
func judgeBody(body io.Reader, probe Probe) error {
	body = io.LimitReader(body, maxBodyBytes)
	if probe.ExpectBody == "" && probe.ExpectBodyRegex == nil {
		if _, err := io.Copy(io.Discard, body); err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		return nil
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	text := string(b)
	if !strings.Contains(text, probe.ExpectBody) {
		return fmt.Errorf("body does not contain %s: %s", shown(probe.ExpectBody), shown(text))
	}
	if probe.ExpectBodyRegex != nil && !probe.ExpectBodyRegex.MatchString(text) {
		return fmt.Errorf("body does not match %s: %s", shown(probe.ExpectBodyRegex.String()), shown(text))
	}
	return nil
}

// shown is the beginning of a text in printable form: logs and the admin API
// show what an endpoint sent.
func shown(text string) string {
	if len(text) <= maxShown {
		return strconv.QuoteToASCII(text)
	}
	return strconv.QuoteToASCII(text[:maxShown]) + fmt.Sprintf(" and %d bytes more", len(text)-maxShown)
}
