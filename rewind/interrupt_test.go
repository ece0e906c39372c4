package rewind_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// errKilled stands in for the death of the process. The journal and the
// directory are all that a later run knows of, so that a run which changes
// nothing more is to it as good as killed.
var errKilled = errors.New("killed by the test")

// noteSteps makes an engine note the names of the changes that it makes.
func noteSteps(e *rewind.Engine) *[]string {
	var steps []string
	e.BeforeWrite(func(op, path string) error {
		steps = append(steps, op+" "+path)
		return nil
	})
	return &steps
}

// interrupted is a diverged pair whose old primary is rewound again and again,
// each time on a fresh copy.
type interrupted struct {
	old, leader *rewindtest.Node
	// before is the directory as it was; whole is one that was rewound without
	// interruption, and never started.
	before map[string]string
	whole  *rewindtest.Node
	// steps are the changes that such a rewind makes, in their order.
	steps []string
	// latch and unlatch are the steps between which no server can start: the
	// move of pg_control away, and its return.
	latch, unlatch int
}

// quietCluster writes nothing by itself, so that every rewind of the same
// directory fetches the same.
func quietCluster() rewindtest.Options {
	return rewindtest.Options{WalSegSize: 1, Conf: map[string]string{
		"autovacuum": "off", "checkpoint_timeout": "1h", "bgwriter_lru_maxpages": "0",
	}}
}

func newInterrupted(t *testing.T, install rewindtest.Install) *interrupted {
	t.Helper()
	return newInterruptedWith(t, install, func(*rewindtest.Node) error { return nil })
}

func newInterruptedWith(t *testing.T, install rewindtest.Install, before func(old *rewindtest.Node) error) *interrupted {
	t.Helper()
	pair := rewindtest.Diverged(t, install, rewindtest.Opts{
		Seed: 21, Rows: 200, KillOld: true, CheckpointsAfterFork: 1, Cluster: quietCluster(),
		Before: func(old, standby *rewindtest.Node) error {
			return errors.Join(before(old), old.Exec("CREATE TABLE nothing(i int)", "CREATE UNLOGGED TABLE flighty(i int)"))
		},
	})
	pair.New.Must(t).Exec("CREATE TABLE later AS SELECT generate_series(1, 10000) i", "CHECKPOINT")
	s := &interrupted{old: pair.Old, leader: pair.New, before: snapshot(t, pair.Old.Dir), latch: -1, unlatch: -1}
	s.whole = s.copy(t, "whole")
	e := s.engine(t, s.whole)
	steps := noteSteps(e)
	run(t, e)
	s.steps = *steps
	for i, step := range s.steps {
		switch step {
		case "rename global/pg_control":
			s.latch = i
		case "publish global/pg_control":
			s.unlatch = i
		}
	}
	if s.latch < 0 || s.unlatch < s.latch {
		t.Fatalf("pg_control leaves at step %d and comes back at step %d", s.latch, s.unlatch)
	}
	t.Logf("%d steps, pg_control leaves at %d, comes back at %d", len(s.steps), s.latch, s.unlatch)
	return s
}

// engine makes one that works in a fixed order.
func (s *interrupted) engine(t *testing.T, n *rewindtest.Node) *rewind.Engine {
	t.Helper()
	e := engineFor(t, n, s.leader)
	e.Options.Workers, e.Options.NoSync = 1, true
	return e
}

func (s *interrupted) copy(t *testing.T, name string) *rewindtest.Node {
	t.Helper()
	n, err := s.old.CreateClone(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// left is the state in which an interrupted rewind leaves a directory.
type left uint8

const (
	untouched left = iota // as it was
	halfDone              // no server can start
	finished              // but for the engine's own files
)

// kill rewinds a node, ends it after n changes, and tells how far it came. What
// the changes are is not the same each time: the source has written meanwhile.
func (s *interrupted) kill(t *testing.T, node *rewindtest.Node, n int) left {
	t.Helper()
	return s.killWhen(t, node, func(made []string, _ string) bool { return len(made) == n })
}

// killBefore rewinds a node and ends it before a step.
func (s *interrupted) killBefore(t *testing.T, node *rewindtest.Node, step string) left {
	t.Helper()
	return s.killWhen(t, node, func(_ []string, next string) bool { return next == step })
}

// killWhen rewinds a node and ends it when the steps that were made, and the
// next one, say so.
func (s *interrupted) killWhen(t *testing.T, node *rewindtest.Node, when func(made []string, next string) bool) left {
	t.Helper()
	e := s.engine(t, node)
	var made []string // by one worker
	dead := false
	e.BeforeWrite(func(op, path string) error {
		step := op + " " + path
		if dead = dead || when(made, step); dead {
			return errKilled
		}
		made = append(made, step)
		return nil
	})
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if _, err := e.Apply(context.Background(), p); !errors.Is(err, errKilled) {
		t.Fatalf("apply: %v, want it to be ended", err)
	}
	switch {
	case slices.Contains(made, "publish global/pg_control"):
		return finished
	case p.Resumed || slices.Contains(made, "rename global/pg_control"):
		return halfDone
	}
	return untouched
}

func run(t *testing.T, e *rewind.Engine) *rewind.Plan {
	t.Helper()
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if _, err := e.Apply(context.Background(), p); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return p
}

// sameAsWhole fails where a rewound directory is not what one is that was
// rewound without interruption. They may differ in ports, in times, in hints
// that the source has set meanwhile, and in WAL, of which a later run fetches more.
func (s *interrupted) sameAsWhole(t *testing.T, dir string) {
	t.Helper()
	ignore := func(p string) bool {
		switch p {
		case "postgresql.conf", "postgresql.auto.conf", "global/pg_control", "backup_label", "pg_wal", rewind.JournalDir:
			return true
		}
		return false
	}
	for _, d := range rewindtest.DiffTrees(t, dir, s.whole.Dir, ignore, rewindtest.MaskAll) {
		t.Errorf("not as without interruption: %s", d)
	}
}

// checkLeft looks at a directory whose rewind was ended: it is as it was, or
// cannot start, or is finished; and ReadInterrupted says which.
func (s *interrupted) checkLeft(t *testing.T, n *rewindtest.Node, state left) {
	t.Helper()
	_, err := os.Stat(filepath.Join(n.Dir, "global/pg_control"))
	startable := err == nil
	control, half, err := rewind.ReadInterrupted(n.Dir)
	if err != nil {
		t.Fatalf("ReadInterrupted: %v", err)
	}
	if half == startable || (control != nil) != half {
		t.Errorf("ReadInterrupted says %t, pg_control is there: %t", half, startable)
	}
	if want := state != halfDone; startable != want {
		t.Fatalf("pg_control is there: %t, want %t", startable, want)
	}
	switch state {
	case untouched:
		sameSnapshot(t, "the directory was to be as it was", snapshot(t, n.Dir), s.before,
			rewind.JournalDir, "pg_wal/failback_hook", "postgresql.conf")
	case finished:
		s.sameAsWhole(t, n.Dir)
	}
}
