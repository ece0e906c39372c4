package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/hook"
)

// TestTerminalIsQuiet: on a terminal the bar and the report tell what goes on,
// unless somebody asked for a log; elsewhere there is nothing but the log.
func TestTerminalIsQuiet(t *testing.T) {
	for _, tt := range []struct {
		name     string
		terminal bool
		args     []string
		env      map[string]string
		want     bool
	}{
		{"terminal", true, nil, nil, false},
		{"terminal with an option", true, []string{"--log-level", "info"}, nil, true},
		{"terminal with a variable", true, nil, map[string]string{"FAILBACK_HOOK_LOG_LEVEL": "info"}, true},
		{"no terminal", false, nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			p := &program{
				args: append(append([]string{"failback-hook"}, node()...), tt.args...), env: tt.env,
				stdout: new(bytes.Buffer), stderr: &stderr, defaultFile: filepath.Join(t.TempDir(), "absent.yml"),
				connect: func(_ context.Context, req connectRequest) (rejoiner, func() error, error) {
					req.log.Info("for the log")
					req.log.Warn("for everybody")
					return &fakeRejoiner{report: &hook.Report{}}, func() error { return nil }, nil
				},
			}
			if tt.terminal {
				p.stderr = &console{w: &stderr}
			}
			if code := p.run(t.Context()); code != 0 {
				t.Fatalf("exit code %d: %s", code, &stderr)
			}
			if got := strings.Contains(stderr.String(), "for the log"); got != tt.want || !strings.Contains(stderr.String(), "for everybody") {
				t.Errorf("got %q", &stderr)
			}
		})
	}
}
