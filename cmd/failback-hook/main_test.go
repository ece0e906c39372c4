package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/hook"
)

var update = flag.Bool("update", false, "rewrite the golden files and the README's tables")

// programEnv makes the test binary the program itself, for tests that need
// real processes.
const programEnv = "TEST_AS_FAILBACK_HOOK"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// golden compares with, or under -update rewrites, a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update rewrites it):\n%s", file, diff)
	}
}

// fakeRejoiner answers as told and counts.
type fakeRejoiner struct {
	report  *hook.Report
	lost    *hook.LostReport
	errs    []error // one per call; the last one for all further calls
	calls   int
	dry     bool
	request connectRequest
	during  func(context.Context) error
}

func (f *fakeRejoiner) Rejoin(ctx context.Context) (*hook.Report, error) {
	f.calls++
	if f.during != nil {
		return &hook.Report{}, f.during(ctx)
	}
	if len(f.errs) == 0 {
		return f.report, nil
	}
	return f.report, f.errs[min(f.calls, len(f.errs))-1]
}

func (f *fakeRejoiner) DryRun(ctx context.Context) (*hook.Report, error) {
	f.dry = true
	return f.Rejoin(ctx)
}

func (f *fakeRejoiner) Lost(ctx context.Context) (*hook.LostReport, error) {
	_, err := f.Rejoin(ctx)
	return f.lost, err
}

// outcome is what a run of the program left.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs the program in this process with a fake in the place of the work.
func run(t *testing.T, f *fakeRejoiner, env map[string]string, args ...string) outcome {
	t.Helper()
	return runContext(t, t.Context(), f, env, args...)
}

func runContext(t *testing.T, ctx context.Context, f *fakeRejoiner, env map[string]string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{
		args:        append([]string{"failback-hook"}, args...),
		env:         env,
		stdout:      &stdout,
		stderr:      &stderr,
		firstPause:  time.Millisecond,
		defaultFile: filepath.Join(t.TempDir(), "absent.yml"),
		connect: func(_ context.Context, req connectRequest) (rejoiner, func() error, error) {
			if f == nil {
				return nil, nil, errors.New("this test does not connect")
			}
			f.request = req
			return f, func() error { return nil }, nil
		},
	}
	code := p.run(ctx)
	return outcome{code, stdout.String(), stderr.String()}
}

// node are the options that every run needs.
func node() []string {
	return []string{"--scope", "main", "--name", "n1", "-D", "/pgdata"}
}
