package dcs_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

const systemID = 7710524822113234669

// twoNodes is a cluster led by n2, to which n1 wants to come back.
func twoNodes() dcstest.Spec {
	return dcstest.Spec{
		Scope: "lab", SystemID: systemID, Leader: "n2",
		Members: []dcstest.Member{
			{Name: "n1", ConnURL: "postgres://127.0.0.1:6501/postgres", State: "running", Role: "replica", Version: "4.1.4", Timeline: 1, LSN: 53697008},
			{Name: "n2", ConnURL: "postgres://127.0.0.1:6502/postgres", State: "running", Role: "primary", Version: "4.1.4", Timeline: 2, LSN: 53698000},
		},
	}
}

func configFor(s *dcstest.Server) dcs.ClientConfig {
	return dcs.ClientConfig{Endpoints: []string{s.Endpoint()}, Scope: "lab", DialTimeout: 5 * time.Second, RequestTimeout: 5 * time.Second}
}

func open(t *testing.T, cfg dcs.ClientConfig) *dcs.Client {
	t.Helper()
	c, err := dcs.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func topology(t *testing.T, c *dcs.Client) dcs.Topology {
	t.Helper()
	top, err := c.Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// ends waits for a context and returns its cause.
func ends(t *testing.T, ctx context.Context, within time.Duration) error {
	t.Helper()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(within):
		t.Fatalf("the context did not end within %s", within)
		return nil
	}
}

// goesOn fails if the context ends in this time.
func goesOn(t *testing.T, ctx context.Context, during time.Duration) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatalf("the context ended: %v", context.Cause(ctx))
	case <-time.After(during):
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want one that is %q", err, target)
	}
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// ourGoroutines counts the goroutines that run code of this package.
func ourGoroutines() int {
	buf := make([]byte, 4<<20)
	n := 0
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "failback-hook/dcs.") {
			n++
		}
	}
	return n
}

// fitForALine: it can be shown to people without moving their cursor.
func fitForALine(t *testing.T, s string) {
	t.Helper()
	if len(s) > 8000 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%.100q is not fit for a line", s)
	}
}
