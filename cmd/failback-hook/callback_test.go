package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
)

func TestParseCallback(t *testing.T) {
	tests := []struct {
		args string
		want event
		is   bool
		err  string
	}{
		{args: ""},
		{args: "on_start replica main", want: event{"on_start", "replica", "main"}, is: true},
		{args: "on_role_change replica main", want: event{"on_role_change", "replica", "main"}, is: true},
		{args: "on_stop demoted main", want: event{"on_stop", "demoted", "main"}, is: true},
		{args: "on_restart replica main", want: event{"on_restart", "replica", "main"}, is: true},
		{args: "on_reload master main", want: event{"on_reload", "master", "main"}, is: true},
		{args: "on_start replica on_start", want: event{"on_start", "replica", "on_start"}, is: true}, // a scope may have any name
		{args: "on_start replica", err: "want EVENT ROLE SCOPE as the last three arguments, got 2"},
		{args: "on_start replica main more", err: "want EVENT ROLE SCOPE"},
		{args: "extra on_start replica main", err: `unexpected argument "extra" before`},
		{args: "on_strat replica main", err: "unknown command: on_strat; did you mean on_start?"},
		{args: "rejoin", err: "unknown command: rejoin"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got, is, err := parseCallback(strings.Fields(tt.args))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !errors.Is(err, errInput) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want || is != tt.is {
				t.Errorf("got %v %t %v", got, is, err)
			}
		})
	}
}

func TestIdle(t *testing.T) {
	for _, name := range callbackEvents() {
		for role, standby := range map[string]bool{
			"master": false, "primary": false, "promoted": false, "standby_leader": false,
			"replica": true, "demoted": true, "uninitialized": true, "standby": true,
		} {
			acts := standby && (name == "on_start" || name == "on_role_change")
			if got := (event{name, role, "main"}).idle() == ""; got != acts {
				t.Errorf("%s %s: acts %t, want %t", name, role, got, acts)
			}
		}
	}
}

// foreground runs a callback in this process, with log and lock file in a
// directory of the test's own.
func foreground(t *testing.T, f *fakeRejoiner, dir string, args ...string) outcome {
	t.Helper()
	all := append([]string{"--foreground", "--quiet", "--name", "n1", "-D", "/pgdata"}, args...)
	return run(t, f, map[string]string{"XDG_STATE_HOME": dir}, all...)
}

func TestCallbackForeground(t *testing.T) {
	done := func() *fakeRejoiner { return &fakeRejoiner{report: &hook.Report{Outcome: hook.OutcomeNothing}} }
	f := done()
	if got := foreground(t, f, t.TempDir(), "on_start", "replica", "main"); got.code != 0 || f.calls != 1 {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
	if got := f.request.settings.Scope; got != "main" {
		t.Errorf("scope %q is not the callback's", got)
	}
	f = done()
	if got := foreground(t, f, t.TempDir(), "on_start", "primary", "main"); got.code != 0 || f.calls != 0 ||
		!strings.Contains(got.stderr, "this node is the primary: there is nothing to bring back") {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
	f = done()
	if got := foreground(t, f, t.TempDir(), "--scope", "other", "on_start", "replica", "main"); got.code != exitUsage || f.calls != 0 ||
		!strings.Contains(got.stderr, `the callback is for cluster "main", but scope is "other" (--scope)`) {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
	f = done()
	if got := foreground(t, f, t.TempDir(), "--dry-run", "on_start", "replica", "main"); got.code != exitUsage || f.calls != 0 {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
	if got := run(t, done(), nil, append(node(), "--foreground")...); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
}

func TestCallbackTriesAgain(t *testing.T) {
	ok := &hook.Report{Outcome: hook.OutcomeNothing}
	tests := []struct {
		name  string
		errs  []error
		args  []string
		code  int
		calls int
	}{
		{"what passes by itself", []error{hook.ErrNoLeader, dcs.ErrUnavailable, hook.ErrLeaderNotReady, nil}, nil, 0, 4},
		{"what does not", []error{hook.ErrSystemID}, nil, 6, 1},
		{"another node's lock", []error{&dcs.LockedError{Owner: dcs.Owner{Member: "n2"}}, nil}, nil, 0, 2},
		{"our own lock", []error{&dcs.LockedError{Owner: dcs.Owner{Member: "n1"}}}, nil, 0, 1},
		{"one try", []error{hook.ErrNoLeader}, []string{"--callback-wait", "0s"}, 4, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeRejoiner{report: ok, errs: tt.errs}
			got := foreground(t, f, t.TempDir(), append(tt.args, "on_start", "replica", "main")...)
			if got.code != tt.code || f.calls != tt.calls {
				t.Errorf("%d calls, %+v", f.calls, got)
			}
		})
	}
	// By hand there is one try.
	f := &fakeRejoiner{errs: []error{hook.ErrNoLeader}}
	if got := run(t, f, nil, node()...); got.code != 4 || f.calls != 1 {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
}

// TestCallbackTimeout: --timeout is for all tries together.
func TestCallbackTimeout(t *testing.T) {
	f := &fakeRejoiner{during: func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Millisecond):
		}
		return hook.ErrNoLeader
	}}
	got := foreground(t, f, t.TempDir(), "--timeout", "200ms", "on_start", "replica", "main")
	if got.code != exitTimeout || f.calls < 2 {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
}

func TestCallbackInProgress(t *testing.T) {
	dir := t.TempDir()
	f := &fakeRejoiner{report: &hook.Report{Outcome: hook.OutcomeNothing}}
	first, err := openDoor(map[string]string{"XDG_STATE_HOME": dir}, &settings{Scope: "main", Name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.enter(); err != nil {
		t.Fatal(err)
	}
	seen := first.knocks()
	got := foreground(t, f, dir, "on_start", "replica", "main")
	if got.code != 0 || f.calls != 0 || !strings.Contains(got.stderr, "at work already") {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
	if first.knocks() == seen {
		t.Error("the one at work was not told")
	}
	if got := first.holder(); got != os.Getpid() {
		t.Errorf("holder %d, want %d", got, os.Getpid())
	}
	// Another member of the same host has a door of its own.
	if got := foreground(t, f, dir, "--name", "n2", "on_start", "replica", "main"); got.code != 0 || f.calls != 1 {
		t.Errorf("%d calls, %+v", f.calls, got)
	}
	first.close()
	if got := foreground(t, f, dir, "on_start", "replica", "main"); got.code != 0 || f.calls != 2 {
		t.Errorf("after the first has ended: %d calls, %+v", f.calls, got)
	}
}

// TestCallbackLooksAgain lets an event come while the work for one is being
// done: what was decided may be older than the event.
func TestCallbackLooksAgain(t *testing.T) {
	dir := t.TempDir()
	second := &fakeRejoiner{}
	first := &fakeRejoiner{}
	first.during = func(context.Context) error {
		if first.calls > 1 {
			return nil
		}
		if got := foreground(t, second, dir, "on_role_change", "replica", "main"); got.code != 0 {
			t.Errorf("%+v", got)
		}
		return hook.ErrSystemID
	}
	got := foreground(t, first, dir, "on_start", "replica", "main")
	if got.code != 0 || first.calls != 2 || second.calls != 0 {
		t.Errorf("%d and %d calls (want 2 and 0), %+v", first.calls, second.calls, got)
	}
}

func TestStateDir(t *testing.T) {
	base, uid := t.TempDir(), os.Getuid()
	if got, err := stateDir(map[string]string{"XDG_STATE_HOME": base}, uid); err != nil || got != filepath.Join(base, "failback-hook") {
		t.Errorf("%s, %v", got, err)
	}
	// In a directory that everybody can write to, another user may have been first.
	open := filepath.Join(base, "open", "failback-hook")
	if err := os.MkdirAll(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if got, err := stateDir(map[string]string{"XDG_STATE_HOME": filepath.Dir(open)}, uid); err == nil {
		t.Errorf("%s is writable by everybody and was taken", got)
	}
	if err := privateDir(filepath.Join(base, "failback-hook"), uid+1); err == nil {
		t.Error("another user's directory was taken")
	}
	if err := os.Symlink(base, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	if err := privateDir(filepath.Join(base, "link"), uid); err == nil {
		t.Error("a link was taken")
	}
}

func TestFileName(t *testing.T) {
	if got, want := fileName("../../etc/x", "n 1"), "failback-hook..._.._etc_x.n_1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOpenLogSetsLargeOneAside(t *testing.T) {
	d := &door{logFile: filepath.Join(t.TempDir(), "x.log")}
	if err := os.WriteFile(d.logFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.logFile, maxLog+1); err != nil {
		t.Fatal(err)
	}
	f, err := d.openLog()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := os.Stat(d.logFile + ".1"); err != nil || info.Size() != maxLog+1 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}
