package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/failback-hook/failback-hook/hook"
)

// errInput stands for everything that is wrong with options, arguments and
// configuration.
var errInput = errors.New("wrong usage or configuration")

// inputError marks an error as the user's input's. Its text is the error's alone.
type inputError struct{ err error }

// Error is the text of what is wrong.
func (e *inputError) Error() string { return e.err.Error() }

// Unwrap gives errInput first, so that it decides the exit code.
func (e *inputError) Unwrap() []error { return []error{errInput, e.err} }

func usagef(format string, args ...any) error {
	return &inputError{err: fmt.Errorf(format, args...)}
}

// hinted adds advice to an error.
type hinted struct {
	err  error
	hint string
}

// Error is the text of the error alone.
func (e *hinted) Error() string { return e.err.Error() }

// Unwrap gives the error.
func (e *hinted) Unwrap() error { return e.err }

// Hint gives the advice.
func (e *hinted) Hint() string { return e.hint }

// hintFor asks the error for its advice, and the table if it has none.
func hintFor(err error, row exitRow) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	return row.hint
}

// jsonError is what a failed run prints with --output json.
type jsonError struct {
	Error struct {
		Code    int    `json:"code"`
		Name    string `json:"name"`
		Message string `json:"message"`
		Hint    string `json:"hint,omitempty"`
	} `json:"error"`
	// Report is what had been done by then, if anything.
	Report *hook.Report `json:"report,omitempty"`
}

// printError tells of an error: text on stderr, JSON on stdout.
func (p *program) printError(err error, row exitRow, report *hook.Report, output string) {
	hint := hintFor(err, row)
	if output == outputJSON {
		var e jsonError
		e.Error.Code, e.Error.Name, e.Error.Message, e.Error.Hint = row.code, row.name, err.Error(), hint
		e.Report = report
		printJSON(p.stdout, e)
		return
	}
	// Joined errors come on lines of their own; the further ones are indented.
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n  ")
	fmt.Fprintf(p.stderr, "failback-hook: error: %s\n", text)
	if hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", hint)
	}
}

// printJSON writes one indented object and a line end.
func printJSON(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintf(w, "{\"error\":{\"code\":%d,\"name\":\"unexpected\",\"message\":%q}}\n", exitUnexpected, err.Error())
	}
}
