package rewind_test

import (
	"context"
	"errors"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// pristine is a directory before anything was done to it.
type pristine struct {
	dir  string
	tree tree
}

func rememberTree(t *testing.T, dir string) pristine {
	t.Helper()
	return pristine{dir, readTree(t, dir)}
}

// same fails when the directory is not what it was, or files have other times.
func (p pristine) same(t *testing.T) {
	t.Helper()
	if err := readTree(t, p.dir).diff(p.tree); err != nil {
		t.Errorf("undone: %v", err)
	}
}

func undo(t *testing.T, e *rewind.Engine) *rewind.Undone {
	t.Helper()
	out, err := e.Undo(context.Background())
	if err != nil {
		t.Fatalf("undo: %v", err)
	}
	return out
}

// undoOnce rewinds a directory, or finishes that, and gives it back as it was.
func undoOnce(t *testing.T, e *rewind.Engine) {
	t.Helper()
	if _, half, err := rewind.ReadInterrupted(e.PGData); err != nil || half {
		return // it was something else before
	}
	again := *e
	again.Options.KeepUndo = true
	was := rememberTree(t, e.PGData)
	if p := run(t, &again); p.Strategy == rewind.StrategyNone && len(p.WAL.SetAside) == 0 && p.WAL.Trim == nil {
		return // only the standby settings were written
	}
	undo(t, &again)
	was.same(t)
}

// keeping makes an engine that can take a finished rewind back.
func (s *interrupted) keeping(t *testing.T, n *rewindtest.Node) *rewind.Engine {
	t.Helper()
	e := s.engine(t, n)
	e.Options.KeepUndo = true
	return e
}

// TestUndoFinished takes a rewind back that had ended, until the server has been
// started on what it made.
func TestUndoFinished(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	n := s.copy(t, "finished")
	was := rememberTree(t, n.Dir)
	run(t, s.keeping(t, n))
	s.sameAsWhole(t, n.Dir)
	if out := undo(t, s.engine(t, n)); !out.Finished || out.ImageBytes == 0 || out.Restored == 0 || out.Removed == 0 {
		t.Errorf("undo says it did %+v", out)
	}
	was.same(t)

	run(t, s.keeping(t, n))
	prove(t, n, s.leader)
	if _, err := s.engine(t, n).Discard(context.Background()); err != nil { // while it runs
		t.Fatal(err)
	}
	noOwnFiles(t, n.Dir)
	n.Must(t).Stop(rewindtest.Fast)
	if _, err := s.engine(t, n).Undo(context.Background()); !errors.Is(err, rewind.ErrNoUndo) {
		t.Errorf("undo after Discard: %v", err)
	}

	run(t, s.engine(t, s.copy(t, "other")))
	other := s.copy(t, "started")
	run(t, s.keeping(t, other))
	other.Must(t).Start()
	other.Must(t).Stop(rewindtest.Fast)
	if _, err := s.engine(t, other).Undo(context.Background()); !errors.Is(err, rewind.ErrNoUndo) {
		t.Errorf("undo after a start: %v", err)
	}
}

// TestUndoTwoRuns takes back what two runs have done, the second against another
// state of the leader.
func TestUndoTwoRuns(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	n := s.copy(t, "twice")
	was := rememberTree(t, n.Dir)
	if s.kill(t, n, s.unlatch*2/3) != halfDone {
		t.Fatal("not half done")
	}
	s.leader.Must(t).Exec("UPDATE later SET i = i + 1", "VACUUM", "CREATE TABLE latest AS SELECT generate_series(1, 10000) i", "DROP TABLE nothing", "CHECKPOINT")
	if s.kill(t, n, s.unlatch*2/3) != halfDone {
		t.Fatal("not half done")
	}
	undo(t, s.engine(t, n))
	was.same(t)
	if n.Must(t).Start(); !t.Failed() {
		n.Must(t).Stop(rewindtest.Immediate)
	}
}

// TestNoUndo: a run that saves nothing cannot be taken back, also where an
// earlier one saved; it can still be finished.
func TestNoUndo(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	n := s.copy(t, "noundo")
	if s.kill(t, n, s.unlatch/2) != halfDone {
		t.Fatal("not half done")
	}
	e := s.engine(t, n)
	e.Options.NoUndo = true
	e.BeforeWrite(func(op, _ string) error {
		if op == "truncate" || op == "publish" {
			return errKilled
		}
		return nil
	})
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(context.Background(), p); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if _, err := s.engine(t, n).Undo(context.Background()); !errors.Is(err, rewind.ErrNoUndo) {
		t.Errorf("undo: %v, want ErrNoUndo", err)
	}
	run(t, s.engine(t, n))
	noOwnFiles(t, n.Dir)
	s.sameAsWhole(t, n.Dir)
}
