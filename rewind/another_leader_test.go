package rewind_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestInterruptedTwice ends a rewind, lets the leader write, ends the
// continuation too, lets the leader write again, and continues.
func TestInterruptedTwice(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	load := rewindtest.NewWorkload(99)
	work := func() {
		t.Helper()
		if err := load.Run(context.Background(), s.leader, 8); err != nil {
			t.Fatal(err)
		}
		s.leader.Must(t).Exec("CHECKPOINT")
	}
	for i, at := range []int{s.latch + 2, len(s.steps) / 2, s.unlatch - 12, s.unlatch - 2} {
		t.Run(s.steps[at], func(t *testing.T) {
			n := s.copy(t, fmt.Sprintf("twice%d", i))
			s.kill(t, n, at)
			work()
			s.kill(t, n, at/3+i) // what was saved once is not saved again
			work()
			s.resume(t, n, s.leader)
		})
	}
}

// resume continues an interrupted rewind and proves what comes of it.
func (s *interrupted) resume(t *testing.T, n, leader *rewindtest.Node) {
	t.Helper()
	if p := run(t, engineFor(t, n, leader)); !p.Resumed {
		t.Error("the plan does not continue what was begun")
	}
	noOwnFiles(t, n.Dir)
	prove(t, n, leader)
	n.Must(t).Stop(rewindtest.Fast)
	rewindtest.Checksums(t, n.Install, n.Dir)
}

// TestInterruptedThenAnotherLeader continues against a server that lacks a part
// of what the interrupted run has copied: a standby that had been left behind
// takes over from the first leader.
func TestInterruptedThenAnotherLeader(t *testing.T) {
	t.Parallel()
	var second *rewindtest.Node
	s := newInterruptedWith(t, rewindtest.Newest(t), func(old *rewindtest.Node) error {
		second = old.Standby(t, "second")
		return second.Stop(rewindtest.Fast)
	})
	second.Must(t).Follow(s.leader)
	second.Must(t).Start()
	second.Must(t).WaitForCatchup(s.leader)
	second.Must(t).Kill() // it hears nothing of what follows
	if err := rewindtest.NewWorkload(98).Run(context.Background(), s.leader, 25); err != nil {
		t.Fatal(err)
	}
	s.leader.Must(t).Exec("DROP TABLE nothing", "CREATE TABLE onlyfirst AS SELECT generate_series(1, 20000) i", "CHECKPOINT")
	var nodes []*rewindtest.Node
	for i, at := range []int{s.latch + 2, len(s.steps) / 3, len(s.steps) * 3 / 4, s.unlatch} {
		n := s.copy(t, fmt.Sprintf("other%d", i))
		if at == s.unlatch { // the number of the step is not the same each time
			s.killBefore(t, n, "publish global/pg_control")
		} else {
			s.kill(t, n, at)
		}
		if i == 2 {
			s.kill(t, n, 40)
		}
		nodes = append(nodes, n)
	}
	s.leader.Must(t).Stop(rewindtest.Immediate)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	second.Must(t).Promote()
	if err := rewindtest.NewWorkload(97).Run(context.Background(), second, 25); err != nil {
		t.Fatal(err)
	}
	second.Must(t).Checkpoint()
	for _, n := range nodes {
		t.Run(n.Name, func(t *testing.T) { s.resume(t, n, second) })
	}
	// The first leader itself is diverged now, and two timelines deep.
	p := bringBack(t, s.leader, second).Plan
	if p.Strategy != rewind.StrategyWAL {
		t.Errorf("strategy %s for the first leader", p.Strategy)
	}
	prove(t, s.leader, second)
}

// TestSameNumberInterrupted: target and source have promoted themselves to the
// same timeline number at different positions, so that their segments bear the
// same names. An interrupted run has moved the source's into pg_wal; the next
// must not take them for the target's.
func TestSameNumberInterrupted(t *testing.T) {
	t.Parallel()
	primary := newPrimary(t)
	load := rewindtest.NewWorkload(50)
	if err := load.Setup(primary, 100); err != nil {
		t.Fatal(err)
	}
	old, leader := primary.Standby(t, "old"), primary.Standby(t, "leader")
	old.Must(t).WaitForCatchup(primary)
	old.Must(t).Promote() // to 2
	if err := load.Run(context.Background(), primary, 20); err != nil {
		t.Fatal(err)
	}
	leader.Must(t).WaitForCatchup(primary)
	leader.Must(t).Promote() // to 2 as well, further on
	for seed, n := range []*rewindtest.Node{old, leader} {
		if err := rewindtest.NewWorkload(uint64(60+seed)).Run(context.Background(), n, 20); err != nil {
			t.Fatal(err)
		}
	}
	leader.Must(t).Exec("CREATE TABLE long AS SELECT generate_series(1, 100000) i", "CHECKPOINT")
	old.Must(t).Kill()
	stockSays(t, old, leader)
	s := &interrupted{old: old, leader: leader}
	whole := s.copy(t, "whole")
	e := s.engine(t, whole)
	steps := noteSteps(e)
	p := run(t, e)
	if want := (pg.Timeline)(1); p.Fork.Timeline != want || p.Strategy != rewind.StrategyWAL {
		t.Fatalf("fork on timeline %d, strategy %s", p.Fork.Timeline, p.Strategy)
	}
	prove(t, whole, leader)
	last := len(*steps)
	for i, at := range []int{last - 12, last - 9, last - 7, last - 5, last - 4} {
		t.Run((*steps)[at], func(t *testing.T) {
			n := s.copy(t, fmt.Sprintf("same%d", i))
			s.kill(t, n, at)
			if i%2 == 0 {
				s.kill(t, n, 12*i+3)
			} else {
				s.killBefore(t, n, "publish backup_label") // all WAL is exchanged once more
			}
			s.resume(t, n, leader)
		})
	}
}
