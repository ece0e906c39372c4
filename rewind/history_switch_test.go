package rewind_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// mirrorEngine rewinds as the program does that is called pg_rewind.
func mirrorEngine(t *testing.T, target, leader *rewindtest.Node) *rewind.Engine {
	t.Helper()
	src, err := source.OpenSQL(context.Background(), source.SQLConfig{Conninfo: leader.Conninfo(), ForeignDirs: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return &rewind.Engine{PGData: target.Dir, Source: src, Options: rewind.Options{
		Mirror:  true,
		Standby: &rewind.Standby{Conninfo: leader.Conninfo("application_name=" + target.Name), ConninfoOnly: true},
	}}
}

// TestHistoryBackAndForth: two nodes take the lead from each other again and again, and
// each time the one that has lost it has written on, was killed or stopped, and
// is rewound, by our ways and by pg_rewind's.
func TestHistoryBackAndForth(t *testing.T) {
	t.Parallel()
	switches := 2
	if *histories {
		switches = 11
	}
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		leader := newPrimaryOn(t, install, quietCluster())
		load := rewindtest.NewWorkload(17)
		if err := load.Setup(leader, 100); err != nil {
			t.Fatal(err)
		}
		other := leader.Standby(t, "other")
		for i := range switches {
			other.Must(t).WaitForCatchup(leader)
			old := leader
			leader, other = other, leader
			leader.Must(t).Promote()
			for seed, n := range []*rewindtest.Node{leader, old} {
				if err := rewindtest.NewWorkload(uint64(10*i+seed+20)).Run(context.Background(), n, 8); err != nil {
					t.Fatal(err)
				}
			}
			if i%2 == 0 {
				old.Must(t).Kill()
			} else {
				old.Must(t).Stop(rewindtest.Fast)
			}
			e := engineFor(t, old, leader)
			if i%4 == 1 || i%4 == 2 {
				e = mirrorEngine(t, old, leader)
			}
			p := run(t, e)
			wantStrategy(t, p, rewind.StrategyWAL)
			if want := pg.Timeline(i + 2); p.Source.Timeline != want || len(p.Source.History) != i+2 {
				t.Errorf("switch %d: the source is on timeline %d with history %v", i+1, p.Source.Timeline, p.Source.History)
			}
			if e.Options.Mirror {
				if err := old.WriteConf(); err != nil { // it is the leader's now, port included
					t.Fatal(err)
				}
			}
			noOwnFiles(t, old.Dir)
			prove(t, old, leader)
		}
	})
}

// TestHistoryStandbyAhead: the target is a standby that has received more than the one
// that was promoted. Whether its files hold any of that depends on how it ended
// and on its restartpoints.
func TestHistoryStandbyAhead(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		for _, c := range []struct {
			name                string
			restartpoint, clean bool
			want                rewind.Strategy
		}{
			{"stopped", false, true, rewind.StrategyWAL},
			{"killed", false, false, rewind.StrategyNone},
			{"restartpoint, stopped", true, true, rewind.StrategyWAL},
			{"restartpoint, killed", true, false, rewind.StrategyWAL},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				rare(t, c.clean)
				primary := newPrimaryOn(t, install, quietCluster())
				primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
				target, leader := primary.Standby(t, "target"), primary.Standby(t, "leader")
				for _, n := range []*rewindtest.Node{target, leader} {
					n.Must(t).WaitForCatchup(primary)
				}
				leader.Must(t).Stop(rewindtest.Fast) // it hears nothing of what follows
				primary.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0", "CREATE TABLE further AS SELECT generate_series(1, 30000) i", "CHECKPOINT")
				primary.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0")
				target.Must(t).WaitForCatchup(primary)
				primary.Must(t).Kill()
				if c.restartpoint {
					target.Must(t).Checkpoint()
				}
				if c.clean {
					target.Must(t).Stop(rewindtest.Fast)
				} else {
					target.Must(t).Kill()
				}
				leader.Must(t).Start()
				leader.Must(t).Promote()
				leader.Must(t).Exec("UPDATE t SET i = i + 1 WHERE i % 5 = 0", "CREATE TABLE yours AS SELECT generate_series(1, 3000) i")
				p := rejoin(t, target, leader)
				wantStrategy(t, p, c.want)
				if p.Lost.Commits == 0 {
					t.Error("no commit is counted as lost")
				}
			})
		}
	})
}

// TestHistorySeveralSwitches: behind the fork the target has switched its timeline three
// times, the source twice, over different ways to the same numbers.
func TestHistorySeveralSwitches(t *testing.T) {
	t.Parallel()
	rare(t, true) // TestManyTimelines has two switches on one side
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		old, leader := splitBrain{
			common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i") },
			old:    func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i < 100") },
			leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i > 4900") },
			kill:   true, install: install,
		}.make(t)
		old.Must(t).Start()
		for i, n := range []*rewindtest.Node{old, leader, old, old} {
			n.Must(t).Exec("ALTER SYSTEM SET primary_conninfo = ''")
			n.Must(t).Stop(rewindtest.Fast)
			signal(t, n)
			n.Must(t).Start()
			n.Must(t).Promote()
			n.Must(t).Exec(fmt.Sprintf("INSERT INTO t SELECT %d * i FROM generate_series(1, 5000) i", i+2), fmt.Sprintf("CREATE TABLE switched%d(i int)", i))
		}
		old.Must(t).Kill()
		p := rejoin(t, old, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		if len(p.Target.History) != 4 || len(p.Source.History) != 3 || p.Fork.Timeline != 1 {
			t.Errorf("histories %v and %v, fork %v", p.Target.History, p.Source.History, p.Fork)
		}
	})
}
