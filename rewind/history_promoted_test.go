package rewind_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestHistoryPromotedAtTheSamePosition: two standbys that have the same WAL are both
// promoted, to the same timeline number. Their histories are equal, and only
// the WAL tells that they are two branches.
func TestHistoryPromotedAtTheSamePosition(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		target, leader := primary.Standby(t, "target"), primary.Standby(t, "leader")
		for _, n := range []*rewindtest.Node{target, leader} {
			n.Must(t).WaitForCatchup(primary)
		}
		primary.Must(t).Stop(rewindtest.Fast)
		for _, n := range []*rewindtest.Node{target, leader} {
			waitFor(t, n, "SELECT pg_last_wal_replay_lsn() = pg_last_wal_receive_lsn()")
			n.Must(t).Promote()
		}
		target.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0", "CREATE TABLE mine(i int)")
		leader.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0", "CREATE TABLE yours(i int)", "CHECKPOINT")
		target.Must(t).Kill()
		p := rejoin(t, target, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		if p.Fork.Timeline != 1 || len(p.Warnings) == 0 {
			t.Errorf("fork %v, want it on timeline 1, and a warning; got %q", p.Fork, p.Warnings)
		}
	})
}

// TestHistoryFollowedAnotherLeader: a standby has followed a leader that lost, onto a
// timeline of the same number as the winner's, and was killed before its control
// file named it. Its data files hold nothing of that, its pg_wal does.
func TestHistoryFollowedAnotherLeader(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		target, leader, loser := primary.Standby(t, "target"), primary.Standby(t, "leader"), primary.Standby(t, "loser")
		for _, n := range []*rewindtest.Node{target, leader, loser} {
			n.Must(t).WaitForCatchup(primary)
		}
		loser.Must(t).Promote()
		target.Must(t).Stop(rewindtest.Fast)
		target.Must(t).Follow(loser)
		target.Must(t).Start()
		loser.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 10)")
		target.Must(t).WaitForCatchup(loser)
		target.Must(t).Kill()
		primary.Must(t).Exec("CREATE TABLE further AS SELECT generate_series(1, 100) i")
		leader.Must(t).WaitForCatchup(primary)
		leader.Must(t).Promote()
		leader.Must(t).Exec("DELETE FROM t WHERE i < 1000")
		p := rejoin(t, target, leader)
		wantStrategy(t, p, rewind.StrategyNone)
	})
}

// TestHistoryPromotedWithOpenTransaction is TestStandbyWithOpenTransaction with a
// target that was promoted too, later than the leader: its control file is a
// primary's, and the hints that it set before are those of a standby.
func TestHistoryPromotedWithOpenTransaction(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) { openTransactionOverFork(t, install, true, false, true) })
}

// TestHistoryBackedUpWithOpenTransaction: the target was made by a base backup
// while a transaction was open that outlives the fork. It has no WAL from before
// the transaction, and needs none: its recovery began with the backup.
func TestHistoryBackedUpWithOpenTransaction(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		primary := newPrimaryOn(t, install, quietCluster())
		primary.Must(t).Exec("CREATE TABLE t(i int, filler text) WITH (autovacuum_enabled = off)",
			"INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 1000) i", "CREATE TABLE dropped AS SELECT generate_series(1, 1000) i")
		_, commit := openTransaction(t, primary, "INSERT INTO t SELECT 100000 + i, repeat('y', 200) FROM generate_series(1, 2000) i")
		primary.Must(t).Exec("CREATE TABLE later(i int)", "SELECT pg_switch_wal()")
		leader, target := primary.Standby(t, "leader"), primary.Standby(t, "target")
		for _, n := range []*rewindtest.Node{leader, target} {
			n.Must(t).WaitForCatchup(primary)
		}
		leader.Must(t).Promote()
		leader.Must(t).Exec("INSERT INTO t SELECT 200000 + i, 'leader' FROM generate_series(1, 10) i")
		commit()
		primary.Must(t).Exec("UPDATE t SET filler = 'z' WHERE i % 7 = 0", "DROP TABLE dropped")
		target.Must(t).WaitForCatchup(primary)
		target.Must(t).Exec("SELECT count(*) FROM t")
		target.Must(t).Stop(rewindtest.Fast)
		c := controlOf(t, target).CheckPointCopy
		if c.OldestActiveXID == c.NextXID.XID() {
			t.Errorf("no transaction was open at the target's checkpoint")
		}
		p := rejoin(t, target, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
	})
}
