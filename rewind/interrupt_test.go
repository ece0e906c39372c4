package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// errKilled stands in for the death of the process. The journal and the
// directory are all that a later run knows of, so that a run which changes
// nothing more is to it as good as killed.
var errKilled = errors.New("killed by the test")

// killAt lets an engine make n changes and no more. It returns the names of
// those that were made or tried.
func killAt(e *rewind.Engine, n int) *[]string {
	var mu sync.Mutex
	var done []string
	e.BeforeWrite(func(op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		done = append(done, op+" "+path)
		if len(done) > n {
			return errKilled
		}
		return nil
	})
	return &done
}

// interrupted is a diverged pair whose old primary is rewound again and again,
// each time on a fresh copy.
type interrupted struct {
	old, leader *rewindtest.Node
	// before is the directory as it was, after the one that a rewind makes of it
	// which nobody interrupts.
	before, after map[string]string
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
	pair := rewindtest.Diverged(t, install, rewindtest.Opts{
		Seed: 21, Rows: 200, KillOld: true, CheckpointsAfterFork: 1, Cluster: quietCluster(),
		Before: func(old, standby *rewindtest.Node) error {
			return old.Exec("CREATE DATABASE shared", "CREATE TABLE nothing(i int)", "CREATE UNLOGGED TABLE flighty(i int)")
		},
	})
	pair.New.Must(t).Exec("CREATE DATABASE later", "CHECKPOINT")
	s := &interrupted{old: pair.Old, leader: pair.New, before: snapshot(t, pair.Old.Dir), latch: -1, unlatch: -1}
	clone := s.copy(t, "whole")
	e := s.engine(t, clone)
	steps := killAt(e, 1<<30)
	run(t, e)
	s.steps, s.after = *steps, snapshot(t, clone.Dir)
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
	e.Options.Workers = 1
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

// kill rewinds a node and ends it after n changes.
func (s *interrupted) kill(t *testing.T, node *rewindtest.Node, n int) {
	t.Helper()
	e := s.engine(t, node)
	killAt(e, n)
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if _, err := e.Apply(context.Background(), p); !errors.Is(err, errKilled) {
		t.Fatalf("apply: %v, want it to end after %d changes", err, n)
	}
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

// points is where to interrupt: everywhere at the beginning and at the end,
// where the order counts, and now and then between.
func (s *interrupted) points() []int {
	var out []int
	for i := range s.steps {
		if i < s.latch+8 || i >= len(s.steps)-40 || i%11 == 0 {
			out = append(out, i)
		}
	}
	return out
}

// own names what differs between two rewound copies of one directory: their
// ports, times, and WAL that the source wrote meanwhile.
var own = []string{
	"postgresql.conf", "postgresql.auto.conf", "global/pg_control", "backup_label", "pg_wal",
}

// checkLeft looks at a directory whose rewind ended after n changes: it is as
// it was, or cannot start, or is finished; and ReadInterrupted says which.
func (s *interrupted) checkLeft(t *testing.T, n *rewindtest.Node, at int) {
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
	wantStartable := at <= s.latch || at > s.unlatch
	if startable != wantStartable {
		t.Fatalf("pg_control is there: %t, want %t", startable, wantStartable)
	}
	ours := []string{rewind.JournalDir, "pg_wal/failback_hook", "postgresql.conf"}
	switch got := snapshot(t, n.Dir); {
	case at <= s.latch:
		sameSnapshot(t, "the directory was to be as it was", got, s.before, ours...)
	case at > s.unlatch:
		sameSnapshot(t, "the directory was to be finished", got, s.after, append(ours, own...)...)
	}
}

// TestInterrupted ends a rewind before each of its changes, and continues it.
func TestInterrupted(t *testing.T) {
	install := rewindtest.Newest(t)
	s := newInterrupted(t, install)
	work := make(chan int)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for at := range work {
				t.Run(s.steps[at], func(t *testing.T) { s.interruptAt(t, at) })
			}
		})
	}
	for _, at := range s.points() {
		work <- at
	}
	close(work)
	wg.Wait()
}

func (s *interrupted) interruptAt(t *testing.T, at int) {
	n := s.copy(t, fmt.Sprintf("at%d", at))
	s.kill(t, n, at)
	s.checkLeft(t, n, at)
	if t.Failed() {
		return
	}
	sample := at%9 == 0 || at >= s.unlatch-1
	if half := at > s.latch && at <= s.unlatch; half && sample {
		if err := n.Start(); err == nil {
			t.Fatal("the server starts on a half rewound directory")
		}
	}
	p := run(t, s.engine(t, n))
	if want := at > s.latch && at <= s.unlatch; p.Resumed != want {
		t.Errorf("plan says resumed: %t, want %t", p.Resumed, want)
	}
	noOwnFiles(t, n.Dir)
	sameSnapshot(t, "continued, it was to be as without interruption", snapshot(t, n.Dir), s.after, own...)
	if sample && !t.Failed() {
		prove(t, n, s.leader)
	}
}
