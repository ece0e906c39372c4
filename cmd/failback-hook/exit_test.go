package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// TestExitTableComplete reads the sources of the packages below for exported
// sentinels and looks for each of them in exit.go's table.
func TestExitTableComplete(t *testing.T) {
	inTable := make(map[string]bool)
	file, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				inTable[pkg.Name+"."+sel.Sel.Name] = true
			}
		}
		return true
	})
	// How many there are at least: a test that looks in the wrong place finds none.
	for dir, least := range map[string]int{"hook": 5, "dcs": 5, "rewind": 5, "rewind/source": 1, "hook/patroniconf": 1} {
		pkg := path.Base(dir)
		names := sentinels(t, filepath.Join("..", "..", dir))
		if len(names) < least {
			t.Errorf("%s: only %d sentinels found", dir, len(names))
		}
		for _, name := range names {
			if !inTable[pkg+"."+name] {
				t.Errorf("%s.%s has no row in exitTable", pkg, name)
			}
		}
	}
}

// sentinels are the exported package variables whose names begin with Err.
func sentinels(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

func TestExitTableSound(t *testing.T) {
	codes, names, owner := make(map[int]bool), make(map[string]bool), make(map[error]int)
	last := -1
	for i, row := range exitTable() {
		if codes[row.code] || names[row.name] || row.code <= last || row.code > 255 {
			t.Errorf("code %d (%s): given twice, out of order or out of range", row.code, row.name)
		}
		codes[row.code], names[row.name], last = true, true, row.code
		if row.meaning == "" || row.name == "" || row.hint == "" && row.code != exitDone {
			t.Errorf("code %d lacks a name, a meaning or a hint", row.code)
		}
		for _, err := range row.errs {
			if other, ok := owner[err]; ok {
				t.Errorf("%v stands for %d and %d", err, other, row.code)
			}
			owner[err] = row.code
		}
		if row.code <= exitUsage && row.code != i {
			t.Errorf("row %d has code %d: exitFor takes it by its place", i, row.code)
		}
	}
}

func TestExitFor(t *testing.T) {
	signalled, cancel := context.WithCancelCause(context.Background())
	cancel(signalError{syscall.SIGTERM})
	interrupted, cancel2 := context.WithCancelCause(context.Background())
	cancel2(signalError{syscall.SIGINT})
	late, cancel3 := context.WithTimeoutCause(context.Background(), 0, errTimeout)
	defer cancel3()
	<-late.Done()
	lost, cancel4 := context.WithCancelCause(context.Background())
	cancel4(dcs.ErrLockLost)

	tests := []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"nil", nil, nil, 0},
		{"unknown", nil, errors.New("x"), 1},
		{"wrapped", nil, fmt.Errorf("a: %w", &rewind.Error{Op: "b", Err: rewind.ErrNoSpace}), 18},
		{"locked", nil, &dcs.LockedError{}, 9},
		{"the outer one decides", nil, fmt.Errorf("%w: %w", hook.ErrServerControl, context.DeadlineExceeded), 15},
		{"the first of a join", nil, errors.Join(dcs.ErrLockLost, rewind.ErrSourceUnavailable), 17},
		{"input before its cause", nil, usagef("x: %w", dcs.ErrUnavailable), 2},
		{"hint around input", nil, &hinted{err: usagef("x")}, 2},
		{"a deadline of nobody's", nil, fmt.Errorf("x: %w", context.DeadlineExceeded), 124},
		{"SIGTERM", signalled, rewind.ErrSourceUnavailable, 143},
		{"SIGINT", interrupted, context.Canceled, 130},
		{"--timeout", late, context.DeadlineExceeded, 124},
		{"cause of another kind", lost, rewind.ErrSourceUnavailable, 10},
		{"done in spite of a signal", signalled, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := tt.ctx
			if ctx == nil {
				ctx = context.Background()
			}
			if got := exitFor(ctx, tt.err).code; got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestErrorOutput(t *testing.T) {
	f := &fakeRejoiner{errs: []error{&rewind.Error{Op: "copy", Path: "base/5/1249", Advice: "make room in /pgdata", Err: rewind.ErrNoSpace}}}
	got := run(t, f, nil, node()...)
	want := outcome{18, "", "failback-hook: error: copy \"base/5/1249\": not enough disk space\nhint: make room in /pgdata\n"}
	if got != want {
		t.Errorf("got %+v", got)
	}
	got = run(t, f, nil, append(node(), "--output", "json")...)
	var e jsonError
	if err := json.Unmarshal([]byte(got.stdout), &e); err != nil {
		t.Fatalf("%v: %s", err, got.stdout)
	}
	if e.Error.Code != 18 || e.Error.Name != "not_writable" || e.Error.Hint != "make room in /pgdata" || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
	// Without advice of its own the table's is given.
	f = &fakeRejoiner{errs: []error{hook.ErrIsLeader}}
	if got = run(t, f, nil, node()...); got.code != 3 || !strings.Contains(got.stderr, "hint: nothing to bring back here") {
		t.Errorf("got %+v", got)
	}
}

func TestTimeout(t *testing.T) {
	f := &fakeRejoiner{during: func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("a driver's words for it") // not even wrapped
	}}
	got := run(t, f, nil, append(node(), "--timeout", "10ms")...)
	if got.code != exitTimeout || !strings.Contains(got.stderr, "the time given by --timeout is over: a driver's words") {
		t.Errorf("got %+v", got)
	}
}

func TestSignal(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer interruptedBy(ctx, cancel, io.Discard, func(int) { t.Error("the process would have ended") }).stop()
	f := &fakeRejoiner{during: func(ctx context.Context) error {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Second):
			return errors.New("the signal did not end the context")
		}
	}}
	got := runContext(t, ctx, f, nil, node()...)
	if got.code != 143 || !strings.Contains(got.stderr, "received signal: terminated") {
		t.Errorf("got %+v", got)
	}
}
