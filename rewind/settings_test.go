package rewind_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// The cases of this file are those in which a setting was switched meanwhile,
// so that for a time WAL did not tell everything. What is lost then are the dead
// marks of index entries: an entry that is marked dead is one that a search does
// not see, and the mark leaves no trace.

// marked makes a table whose index leaves have room.
func marked(n rewindtest.MustNode) {
	n.Exec("CREATE TABLE marked(i int PRIMARY KEY, v text) WITH (autovacuum_enabled = off)",
		"INSERT INTO marked SELECT i * 2, 'x' FROM generate_series(1, 2000) i", "CHECKPOINT")
}

// markDead deletes rows and looks for them by the index, which marks their
// entries dead.
func markDead(n rewindtest.MustNode) {
	n.Exec("DELETE FROM marked WHERE i <= 1000 AND i % 2 = 0")
	for range 2 {
		n.Exec("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; SELECT count(v) FROM marked WHERE i BETWEEN 0 AND 1000")
	}
}

// unseen promotes a node, because a standby looks at entries marked dead as
// well, and tells how many rows the index does not find.
func unseen(t *testing.T, n *rewindtest.Node) int {
	t.Helper()
	n.Must(t).Promote()
	count := func(settings string) int {
		v, err := strconv.Atoi(n.Must(t).Query(settings + "; SELECT count(v) FROM marked WHERE i BETWEEN 0 AND 100000")[0][0])
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	index := count("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off")
	return count("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off") - index
}

// stockUnseen rewinds a copy with pg_rewind and tells what became of the index;
// it only logs, because another minor release may do better.
func stockUnseen(t *testing.T, old, leader *rewindtest.Node) {
	t.Helper()
	if !old.Install.Has("pg_rewind") {
		t.Logf("%s has no pg_rewind", old.Install)
		return
	}
	other := old.Clone(t, "stock")
	if err := other.RejoinByPgRewind(leader); err != nil {
		t.Logf("stock pg_rewind: %v", err)
		return
	}
	t.Logf("stock pg_rewind leaves %d rows that the index does not find", unseen(t, other))
}

// allSeen rewinds, and wants all rows found.
func allSeen(t *testing.T, old, leader *rewindtest.Node) *rewind.Plan {
	t.Helper()
	p := bringBack(t, old, leader).Plan
	if p.Strategy != rewind.StrategyWAL {
		t.Fatalf("strategy %s", p.Strategy)
	}
	old.Must(t).Start()
	old.Must(t).WaitForCatchup(leader)
	rewindtest.CompareTables(t, leader, old)
	if got := unseen(t, old); got != 0 {
		t.Errorf("the index does not find %d rows", got)
	}
	return p
}

// TestFullPageWritesOffDuringCheckpoint: they were off for a while between the
// redo position of the last common checkpoint and its record, and on again
// before that. The checkpoint's record does not tell.
func TestFullPageWritesOffDuringCheckpoint(t *testing.T) {
	t.Parallel()
	old := newPrimary(t)
	n := old.Must(t)
	marked(n)
	leader := old.Standby(t, "leader")
	end := spreadCheckpoint(t, old)
	setFullPageWrites(t, old, "off")
	n.Exec("INSERT INTO marked SELECT i * 2 + 1, 'y' FROM generate_series(1, 2000) i")
	setFullPageWrites(t, old, "on")
	end()
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	leader.Must(t).Exec("CHECKPOINT", "CREATE TABLE x(i int)")
	markDead(n)
	n.Stop(rewindtest.Fast)
	stockUnseen(t, old, leader)
	allSeen(t, old, leader)
}

// TestHintsSwitched: without data checksums everything depends on wal_log_hints,
// which may have been switched meanwhile, or not, where other settings were.
func TestHintsSwitched(t *testing.T) {
	t.Parallel()
	opts := quietCluster()
	opts.NoChecksums = true
	for _, c := range []struct {
		name string
		old  func(n rewindtest.MustNode)
		want error
	}{
		{"off for a while", func(n rewindtest.MustNode) {
			n.SetConf("wal_log_hints", "off")
			n.Restart()
			markDead(n)
			n.SetConf("wal_log_hints", "on")
			n.Restart()
		}, rewind.ErrHints},
		{"another setting", func(n rewindtest.MustNode) {
			n.SetConf("max_connections", "41")
			n.Restart()
			markDead(n)
			n.SetConf("max_connections", "40")
			n.Restart()
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, leader := splitBrain{cluster: &opts, common: marked, old: c.old,
				leader: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE x(i int)") }}.make(t)
			stockUnseen(t, old, leader)
			if c.want != nil {
				refused(t, engineFor(t, old, leader), c.want)
				return
			}
			allSeen(t, old, leader)
		})
	}
}

// TestHintsSwitchedOnBehindTheFork: they were off all the time before.
func TestHintsSwitchedOnBehindTheFork(t *testing.T) {
	t.Parallel()
	opts := quietCluster()
	opts.NoChecksums = true
	opts.Conf["wal_log_hints"] = "off"
	old, leader := splitBrain{cluster: &opts, common: marked,
		old: func(n rewindtest.MustNode) {
			markDead(n)
			n.SetConf("wal_log_hints", "on")
			n.Restart()
		},
		leader: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE x(i int)") },
	}.make(t)
	stockUnseen(t, old, leader)
	refused(t, engineFor(t, old, leader), rewind.ErrHints)
}

// waitUnderWay waits until a checkpoint, or restartpoint, has begun and not
// ended, by the log: 13 has no wait event for one that sleeps between its
// writes. It has set the redo position before it says that it begins.
func waitUnderWay(t *testing.T, n *rewindtest.Node, what string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		log := n.Log(1000)
		if strings.LastIndex(log, " "+what+" starting:") > strings.LastIndex(log, " "+what+" complete:") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s of %s is under way", what, n.Name)
		}
	}
}

// slowRestartpoint begins one on a standby, as a base backup that has time does:
// from a session that keeps nobody's snapshot.
func slowRestartpoint(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	conn, err := pgconn.Connect(ctx, n.Conninfo("replication=true"))
	if err != nil {
		close(ended)
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		_, _ = conn.Exec(ctx, "BASE_BACKUP").ReadAll() // the server's end is its end
	}()
	waitUnderWay(t, n, "restartpoint")
}

// spreadCheckpoint has a primary that has written much begin a checkpoint by
// itself, which writes slowly; the function that comes back lets it end. (A
// backup would have one, too, but has full page images written by force.)
func spreadCheckpoint(t *testing.T, n *rewindtest.Node) (end func()) {
	t.Helper()
	n.Must(t).Exec("CREATE TABLE dirty AS SELECT i, repeat('x', 2000) v FROM generate_series(1, 3000) i")
	before := n.Must(t).Value("SELECT redo_lsn FROM pg_control_checkpoint()")
	n.Must(t).SetConf("max_wal_size", "2MB")
	waitFor(t, n, "SELECT current_setting('max_wal_size') = '2MB'")
	// The end of a segment is when it is looked at. Nothing is written behind it,
	// so that the checkpoint has time.
	n.Must(t).Exec("SELECT pg_switch_wal()")
	waitUnderWay(t, n, "checkpoint")
	n.Must(t).SetConf("max_wal_size", "1GB")
	return func() {
		t.Helper()
		n.Must(t).SetConf("checkpoint_completion_target", "0")
		waitFor(t, n, "SELECT redo_lsn <> '"+before+"' FROM pg_control_checkpoint()")
	}
}

// TestMarksRightAfterPromotion: the target was promoted while it made a
// restartpoint at a checkpoint before the last one. Until its own first
// checkpoint begins, after that, it logs no images of pages that were changed in
// between, and marks index entries of the rows that it deletes without a trace.
func TestMarksRightAfterPromotion(t *testing.T) {
	t.Parallel()
	primary := newPrimary(t)
	n := primary.Must(t)
	marked(n)
	old, leader := primary.Standby(t, "old"), primary.Standby(t, "leader")
	n.Exec("CHECKPOINT", "CREATE TABLE dirty AS SELECT i, repeat('x', 2000) v FROM generate_series(1, 3000) i")
	old.Must(t).WaitForCatchup(primary)
	slowRestartpoint(t, old)
	n.Exec("INSERT INTO marked SELECT i * 2 + 1, 'y' FROM generate_series(1, 2000) i", "CHECKPOINT")
	old.Must(t).WaitForCatchup(primary)
	old.Must(t).Promote()
	markDead(old.Must(t))
	waitUnderWay(t, old, "restartpoint")
	old.Must(t).Stop(rewindtest.Fast)
	n.Exec("CREATE TABLE more(i int)")
	leader.Must(t).WaitForCatchup(primary)
	n.Stop(rewindtest.Immediate)
	leader.Must(t).Promote()
	leader.Must(t).Stop(rewindtest.Fast) // once more: pg_rewind up to 15 takes equal numbers for equal timelines
	leader.Must(t).Follow(primary)
	leader.Must(t).Start()
	leader.Must(t).Promote()
	leader.Must(t).Exec("CHECKPOINT", "CREATE TABLE x(i int)")
	stockUnseen(t, old, leader)
	if p := allSeen(t, old, leader); len(p.Target.History) != 2 || p.Fork.LSN != p.Target.History[0].End {
		t.Errorf("fork %v of histories %v and %v", p.Fork, p.Target.History, p.Source.History)
	}
}

// setFullPageWrites switches the setting and waits until it is in force: the
// checkpointer notes that in the WAL, to which nobody else writes meanwhile.
func setFullPageWrites(t *testing.T, n *rewindtest.Node, value string) {
	t.Helper()
	before := n.Must(t).Value("SELECT pg_current_wal_insert_lsn()")
	n.Must(t).SetConf("full_page_writes", value)
	waitFor(t, n, "SELECT pg_current_wal_insert_lsn() > '"+before+"'")
}
