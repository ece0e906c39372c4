package rewind_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestHistorySourceOnItsWay: the source is a standby that has followed its primary onto
// a new timeline and has not written that down. By its control file it and the
// target are on the same one.
func TestHistorySourceOnItsWay(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		target := newPrimaryOn(t, install, quietCluster())
		target.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		leader, cascade := target.Standby(t, "leader"), target.Standby(t, "cascade")
		for _, n := range []*rewindtest.Node{leader, cascade} {
			n.Must(t).WaitForCatchup(target)
		}
		leader.Must(t).Promote()
		cascade.Must(t).Stop(rewindtest.Fast)
		cascade.Must(t).Follow(leader)
		cascade.Must(t).Start()
		leader.Must(t).Exec("CHECKPOINT", "DELETE FROM t WHERE i < 100")
		cascade.Must(t).WaitForCatchup(leader)
		target.Must(t).Exec("DELETE FROM t WHERE i > 100")
		target.Must(t).Kill()
		refused(t, engineFor(t, target, cascade), rewind.ErrSourceNotReady)
		cascade.Must(t).Checkpoint() // as the error advises
		p := rejoin(t, target, cascade)
		wantStrategy(t, p, rewind.StrategyWAL)
	})
}

// TestHistoryCascade: the source is a standby, of a primary or of another cluster's
// primary (a standby leader): it has the whole branch, or lags behind its primary,
// or even behind the fork, and is stopped in between for a Dir.
func TestHistoryCascade(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		source, target := primary.Standby(t, "source"), primary.Standby(t, "target")
		for _, n := range []*rewindtest.Node{source, target} {
			n.Must(t).WaitForCatchup(primary)
		}
		source.Must(t).Exec("SELECT pg_wal_replay_pause()") // its restartpoints stay behind
		target.Must(t).Promote()
		target.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0", "CREATE TABLE mine AS SELECT generate_series(1, 30000) i")
		target.Must(t).Kill()
		primary.Must(t).Exec("CHECKPOINT", "UPDATE t SET i = -i WHERE i % 3 = 0", "CREATE TABLE further AS SELECT generate_series(1, 30000) i", "CHECKPOINT")
		// The source has received everything, and replayed nothing of it.
		end := primary.Must(t).Value("SELECT pg_current_wal_flush_lsn()")
		waitFor(t, source, "SELECT pg_last_wal_receive_lsn() >= '"+end+"'")
		p := run(t, engineFor(t, target, source))
		wantStrategy(t, p, rewind.StrategyWAL)
		source.Must(t).Exec("SELECT pg_wal_replay_resume()")
		source.Must(t).WaitForCatchup(primary)
		target.Must(t).Start()
		target.Must(t).WaitForCatchup(source)
		rewindtest.CompareTables(t, primary, target)
		rewindtest.AmCheck(t, target)
	})
}

// TestHistoryKilledWhilePromoted: the target died in the middle of its own promotion.
// Its control file is a standby's, with a minimum recovery point that lies on
// the new timeline already.
func TestHistoryKilledWhilePromoted(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		leader := primary.Standby(t, "leader")
		target := primary.StandbyWith(t, rewindtest.StandbyOptions{Name: "target", Conf: map[string]string{"recovery_end_command": "sleep 600"}})
		leader.Must(t).WaitForCatchup(primary)
		leader.Must(t).Stop(rewindtest.Fast)
		primary.Must(t).Exec("DELETE FROM t WHERE i > 4000")
		target.Must(t).WaitForCatchup(primary)
		primary.Must(t).Stop(rewindtest.Fast)
		target.Must(t).Exec("SELECT pg_promote(wait => false)")
		await(t, "the target to write a new timeline down", func() bool { return controlOf(t, target).MinRecoveryPointTLI == 2 })
		target.Must(t).Kill()
		if got := controlOf(t, target).State; got != pgcontrol.StateInArchiveRecovery {
			t.Errorf("state %s", got)
		}
		leader.Must(t).Start()
		leader.Must(t).Promote()
		leader.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0", "CHECKPOINT")
		target.Must(t).SetConf("recovery_end_command", "")
		p := rejoin(t, target, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
	})
}

// controlOf reads a node's control file.
func controlOf(t *testing.T, n *rewindtest.Node) *pgcontrol.Control {
	t.Helper()
	for {
		b, err := os.ReadFile(filepath.Join(n.Dir, "global/pg_control"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgcontrol.Parse(b)
		if errors.Is(err, pgcontrol.ErrCRC) && n.Running() {
			continue // it is being written
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// TestHistorySourcePromotedMeanwhile: the source, a standby, is promoted in the middle
// of a run, which ends; the next continues.
func TestHistorySourcePromotedMeanwhile(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		source, target := primary.Standby(t, "source"), primary.Standby(t, "target")
		for _, n := range []*rewindtest.Node{source, target} {
			n.Must(t).WaitForCatchup(primary)
		}
		target.Must(t).Promote()
		target.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0")
		target.Must(t).Stop(rewindtest.Fast)
		primary.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0")
		source.Must(t).WaitForCatchup(primary)
		e := engineFor(t, target, source)
		writes := 0
		e.BeforeWrite(func(op, path string) error {
			if writes++; op == "write" && path != "" && source != nil {
				source.Must(t).Promote()
				source.Must(t).Exec("DELETE FROM t WHERE i > 4000")
				source = nil
			}
			return nil
		})
		leader := source
		e.Options.Workers = 1
		p, err := e.Plan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Apply(context.Background(), p); !errors.Is(err, rewind.ErrSourceChanged) {
			t.Fatalf("apply: %v, want %v", err, rewind.ErrSourceChanged)
		}
		if p := rejoin(t, target, leader); !p.Resumed {
			t.Error("the second run does not continue the first")
		}
	})
}
