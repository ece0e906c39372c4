package torture_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest/torture"
)

// eachSchedule calls fn for the schedules of 200 seeds on every major.
func eachSchedule(fn func(torture.Schedule)) {
	for major := rewindtest.OldestMajor; major <= rewindtest.NewestMajor; major++ {
		for seed := range uint64(200) {
			fn(torture.Generate(seed+1, major))
		}
	}
}

// TestGenerateIsPure: what a seed stands for must not depend on when it is asked.
func TestGenerateIsPure(t *testing.T) {
	seen := map[string]uint64{}
	eachSchedule(func(s torture.Schedule) {
		if d := cmp.Diff(s, torture.Generate(s.Seed, s.Major)); d != "" {
			t.Fatalf("seed %d: the second time differs:\n%s", s.Seed, d)
		}
		text := s.String()
		if other, ok := seen[text]; ok {
			t.Errorf("seeds %d and %d have the same schedule", other, s.Seed)
		}
		seen[text] = s.Seed
	})
}

// TestEveryKindOccurs among 200 seeds, on every major.
func TestEveryKindOccurs(t *testing.T) {
	traits, ops := map[string]int{}, map[torture.Op]int{}
	eachSchedule(func(s torture.Schedule) {
		for _, trait := range s.Traits {
			traits[trait]++
		}
		for _, step := range s.Steps {
			ops[step.Op]++
		}
	})
	const majors = rewindtest.NewestMajor - rewindtest.OldestMajor + 1
	for _, want := range []string{
		"target=old", "target=ahead", "target=received", "fork=live", "fork=cut", "fork=stopped", "fork=clean",
		"hints", "justpromoted", "open=1", "open=2", "open=3", "restarted", "twin", "end=fast", "end=immediate", "end=kill",
		"source=leader", "source=standby", "source=dir", "interrupted", "loaded", "failovers=2",
	} {
		if got := traits[want]; got < 3*majors {
			t.Errorf("%s occurs %d times in %d schedules", want, got, 200*majors)
		}
	}
	for _, want := range []torture.Op{
		torture.OpClone, torture.OpBackup, torture.OpCut, torture.OpAlone, torture.OpPause, torture.OpCheckpoint, torture.OpSession,
		torture.OpLoad, torture.OpLook, torture.OpKill, torture.OpInterrupt, torture.OpSettle,
	} {
		if got := ops[want]; got < 10*majors {
			t.Errorf("operation %s occurs %d times", want, got)
		}
	}
}

// TestSchedulesMakeSense: nodes are made before anything is done to them, are
// compared with a leader, and no load is left running.
func TestSchedulesMakeSense(t *testing.T) {
	eachSchedule(func(s torture.Schedule) {
		made, loaded := map[string]bool{}, map[string]bool{}
		checks := 0
		for i, step := range s.Steps {
			switch step.Op {
			case torture.OpCreate, torture.OpClone, torture.OpBackup:
				made[step.Node] = true
			case torture.OpFollow, torture.OpCatchup, torture.OpReceive, torture.OpRejoin, torture.OpInterrupt, torture.OpFinal:
				if !made[step.With] {
					t.Fatalf("seed %d, step %d: %s: there is no %s", s.Seed, i, step, step.With)
				}
			case torture.OpLoad:
				loaded[step.Node] = true
			case torture.OpQuiet:
				delete(loaded, step.Node)
			case torture.OpCheck:
				checks++
			}
			if !made[step.Node] {
				t.Fatalf("seed %d, step %d: %s: there is no %s", s.Seed, i, step, step.Node)
			}
		}
		if checks == 0 || len(loaded) > 0 || s.Steps[len(s.Steps)-1].Op != torture.OpFinal {
			t.Errorf("seed %d: %d checks, writers left on %v:\n%s", s.Seed, checks, loaded, s)
		}
	})
}
