package rewind_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// The cases of this file are those in which stock pg_rewind ends with success
// and leaves a directory behind that does not hold what the source holds.

// stock rewinds a copy with pg_rewind and tells whether the result is the
// leader's; it only logs, because another minor release may do better.
func stock(t *testing.T, copied, leader *rewindtest.Node) {
	t.Helper()
	// pg_rewind waits for what the source has inserted, and the comparison before
	// has set hint bits there; the commit flushes them. A standby inserts nothing.
	leader.Must(t).Exec("DO $$ BEGIN IF NOT pg_is_in_recovery() THEN PERFORM pg_logical_emit_message(true, 'test', ''); END IF; END $$")
	if err := copied.RejoinByPgRewind(leader); err != nil {
		t.Logf("stock pg_rewind: %v", err)
		return
	}
	diff, err := rewindtest.Compare(leader, copied)
	t.Logf("stock pg_rewind leaves these differences: %q %v", diff, err)
}

// stockSays runs pg_rewind on a copy that is not started, for the log.
func stockSays(t *testing.T, old, leader *rewindtest.Node) *rewindtest.Node {
	t.Helper()
	if !old.Install.Has("pg_rewind") {
		t.Logf("%s has no pg_rewind", old.Install)
		return nil
	}
	other := old.Clone(t, "stock")
	if err := rewindtest.PgRewind(t, old.Install, other.Dir, leader.Conninfo()); err != nil {
		t.Logf("stock pg_rewind: %v", err)
	}
	return other
}

// TestStandbyWithOpenTransaction: the target is a standby on which a
// transaction was open at the fork that the old primary committed later. Hints
// that say so have reached its disk without a trace in the WAL. They have so, too,
// where the standby was promoted before it became the target.
func TestStandbyWithOpenTransaction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                          string
		promoted, younger, checkpoint bool
	}{
		{name: "since after it was made", checkpoint: true},
		{name: "since before it was made", younger: true, checkpoint: true},
		{name: "since before it was made, and no checkpoint since", younger: true},
		{name: "promoted since", promoted: true, checkpoint: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			openTransactionOverFork(t, rewindtest.Newest(t), c.promoted, c.younger, c.checkpoint)
		})
	}
}

// openTransactionOverFork makes the case. A standby that is younger than the
// transaction has no WAL from when that began, and none of it is needed.
func openTransactionOverFork(t *testing.T, install rewindtest.Install, promoted, younger, checkpoint bool) {
	t.Helper()
	primary := newPrimaryOn(t, install, quietCluster())
	primary.Must(t).Exec(
		"CREATE TABLE t(i int, filler text) WITH (autovacuum_enabled = off)",
		"INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 1000) i",
		"CREATE TABLE dropped AS SELECT generate_series(1, 1000) i",
		"CHECKPOINT")
	var write func(sql string)
	var commit func()
	if younger {
		write, commit = openTransaction(t, primary, "SELECT txid_current()")
		primary.Must(t).Exec("SELECT pg_switch_wal()", "CHECKPOINT")
	}
	leader, target := primary.Standby(t, "leader"), primary.Standby(t, "target")
	if !younger {
		write, commit = openTransaction(t, primary, "SELECT txid_current()")
	}
	// The transaction writes, and a checkpoint follows, before the fork.
	write("INSERT INTO t SELECT 100000 + i, repeat('y', 200) FROM generate_series(1, 2000) i")
	if checkpoint {
		primary.Must(t).Checkpoint()
	}
	primary.Must(t).Exec("CREATE TABLE after_checkpoint(i int)")
	for _, n := range []*rewindtest.Node{leader, target} {
		n.Must(t).WaitForCatchup(primary)
	}
	// The pages of the transaction stay dirty on the target: no restartpoint yet.
	leader.Must(t).Promote()
	leader.Must(t).Exec("CHECKPOINT", "INSERT INTO t SELECT 200000 + i, 'leader' FROM generate_series(1, 10) i")
	commit()
	// A standby sets no hint before its minimum recovery point covers the commit,
	// and all of the 32 transactions whose commits clog keeps one position for.
	// Dropping a table moves that point.
	for range 40 {
		primary.Must(t).Exec("SELECT txid_current()")
	}
	primary.Must(t).Exec("DROP TABLE dropped")
	target.Must(t).WaitForCatchup(primary)
	if got := target.Must(t).Value("SELECT count(*) FROM t WHERE i > 100000"); got != "2000" { // sets the hints
		t.Fatalf("%s rows on the target before the rewind, want 2000", got)
	}
	if promoted {
		target.Must(t).Promote()
		target.Must(t).Exec("CREATE TABLE mine(i int)")
		target.Must(t).Checkpoint()
	}
	target.Must(t).Stop(rewindtest.Fast)
	primary.Must(t).Stop(rewindtest.Fast)
	// Nobody may look at the table on the leader before the rows are counted
	// here: that sets hints there, and their page images would repair this side.
	phantoms := func(n *rewindtest.Node) string {
		return n.Must(t).Value("SELECT count(*) FROM t WHERE i > 100000 AND i <= 200000")
	}
	other := target.Clone(t, "stock")
	if !install.Has("pg_rewind") {
		t.Logf("not compared with stock: %s has no pg_rewind", install)
	} else if err := other.RejoinByPgRewind(leader); err != nil {
		t.Logf("stock pg_rewind: %v", err)
	} else {
		t.Logf("stock pg_rewind leaves %s rows of a transaction that the leader never committed", phantoms(other))
	}
	if p := bringBack(t, target, leader).Plan; p.Strategy != rewind.StrategyWAL {
		t.Fatalf("strategy %s", p.Strategy)
	}
	target.Must(t).Start()
	target.Must(t).WaitForCatchup(leader)
	if got := phantoms(target); got != "0" {
		t.Errorf("%s rows of a transaction that the leader never committed", got)
	}
	rewindtest.CompareTables(t, leader, target)
}

// openTransaction runs a statement in a transaction; the functions that come
// back run another one in it, and commit it.
func openTransaction(t *testing.T, n *rewindtest.Node, sql string) (more func(sql string), commit func()) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, n.Conninfo())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	exec("BEGIN; " + sql)
	return exec, func() { t.Helper(); exec("COMMIT") }
}

// newPrimary makes a quiet one on which AmCheck works, and on its standbys.
func newPrimary(t *testing.T) *rewindtest.Node {
	t.Helper()
	return newPrimaryWith(t, quietCluster())
}

func newPrimaryWith(t *testing.T, opts rewindtest.Options) *rewindtest.Node {
	t.Helper()
	return newPrimaryOn(t, rewindtest.Newest(t), opts)
}

func newPrimaryOn(t *testing.T, install rewindtest.Install, opts rewindtest.Options) *rewindtest.Node {
	t.Helper()
	n := rewindtest.NewPrimary(t, install, opts)
	if n.Install.HasExtension("amcheck") {
		n.Must(t).Exec("CREATE EXTENSION amcheck")
		n.Must(t).ExecIn("template1", "CREATE EXTENSION amcheck")
	}
	return n
}

// splitBrain is a primary whose standby is promoted while it goes on.
type splitBrain struct {
	// common happens before the fork, old and leader on one side behind it.
	common, old, leader func(n rewindtest.MustNode)
	// fork happens once there is a standby, last before the fork; nothing if nil.
	fork func(n rewindtest.MustNode)
	// install is the PostgreSQL to run; the newest if it is the zero value.
	install rewindtest.Install
	// sameNumbers: both go on from the same counters, so that the next files
	// that each makes bear the same numbers.
	sameNumbers bool
	// kill the old primary instead of stopping it.
	kill bool
	// cluster is how it is made; quietCluster if nil.
	cluster *rewindtest.Options
	// stockFails: pg_rewind is known to fail, and is given a copy.
	stockFails bool
}

func (s splitBrain) make(t *testing.T) (old, leader *rewindtest.Node) {
	t.Helper()
	old = s.primary(t)
	s.common(old.Must(t))
	leader = old.Standby(t, "leader")
	if s.fork != nil {
		s.fork(old.Must(t))
	}
	leader.Must(t).WaitForCatchup(old)
	if s.sameNumbers { // a shutdown checkpoint holds the counters
		old.Must(t).Stop(rewindtest.Fast)
	}
	leader.Must(t).Promote()
	if s.sameNumbers {
		old.Must(t).Start()
	}
	leader.Must(t).Checkpoint()
	s.old(old.Must(t))
	s.leader(leader.Must(t))
	leader.Must(t).Exec("CREATE TABLE flushed()") // all before it is on disk
	if s.kill {
		old.Must(t).Kill()
	} else {
		old.Must(t).Stop(rewindtest.Fast)
	}
	return old, leader
}

func (s splitBrain) primary(t *testing.T) *rewindtest.Node {
	t.Helper()
	if s.install.Major == 0 {
		s.install = rewindtest.Newest(t)
	}
	if s.cluster == nil {
		return newPrimaryOn(t, s.install, quietCluster())
	}
	return newPrimaryOn(t, s.install, *s.cluster)
}

// compareWays rewinds with ours, which has to end up equal, and where stock
// pg_rewind fails a copy with that, for the log.
func (s splitBrain) compareWays(t *testing.T) (old, leader *rewindtest.Node, p *rewind.Plan) {
	t.Helper()
	old, leader = s.make(t)
	var other *rewindtest.Node
	if s.stockFails {
		other = old.Clone(t, "stock")
	}
	p = bringBack(t, old, leader).Plan
	if p.Strategy != rewind.StrategyWAL {
		t.Fatalf("strategy %s: %s", p.Strategy, p.Reason)
	}
	prove(t, old, leader)
	if s.stockFails {
		stock(t, other, leader)
	}
	return old, leader, p
}

func nothing(rewindtest.MustNode) {}

// TestDatabaseMadeAgain: a database is dropped and made again with the same OID
// by copying files, which no page of it tells of.
func TestDatabaseMadeAgain(t *testing.T) {
	t.Parallel()
	if rewindtest.Newest(t).Major < 15 {
		t.Skip("CREATE DATABASE with OID and STRATEGY came with 15")
	}
	const create = "CREATE DATABASE again OID = 70000 STRATEGY = file_copy"
	splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec(create)
			n.ExecIn("again", "CREATE TABLE a AS SELECT generate_series(1, 1000) i", "CREATE TABLE b AS SELECT generate_series(1, 1000) i", "VACUUM FREEZE")
			n.Checkpoint()
		},
		old: func(n rewindtest.MustNode) {
			n.Exec("DROP DATABASE again", create)
			n.ExecIn("again", "CREATE TABLE c AS SELECT generate_series(1, 500) i")
		},
		leader:     nothing,
		stockFails: true,
	}.compareWays(t)
}

// TestSPGist: the metapage of an SP-GiST index holds a cache of pages to insert
// into, and changes of it are never logged.
func TestSPGist(t *testing.T) {
	t.Parallel()
	grow := func(n rewindtest.MustNode) {
		n.Exec("INSERT INTO p SELECT point(random() * 1000, random() * 1000) FROM generate_series(1, 40000)")
	}
	s := splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLE p(at point)", "CREATE INDEX p_at ON p USING spgist (at)", "INSERT INTO p SELECT point(i, i) FROM generate_series(1, 2000) i", "CHECKPOINT")
		},
		old:    grow,
		leader: nothing,
	}
	old, leader := s.make(t)
	var other *rewindtest.Node
	if old.Install.Has("pg_rewind") {
		other = old.Clone(t, "stock")
		if err := other.RejoinByPgRewind(leader); err != nil {
			t.Logf("stock pg_rewind: %v", err)
			other = nil
		}
	}
	bringBack(t, old, leader)
	prove(t, old, leader)
	if other != nil {
		other.Must(t).Promote()
		err := other.Exec("INSERT INTO p SELECT point(random() * 1000, random() * 1000) FROM generate_series(1, 40000)")
		t.Logf("inserting after stock pg_rewind: %v", err)
	}
	// What the cache says is used by inserts: the node becomes the leader.
	old.Must(t).WaitForCatchup(leader)
	leader.Must(t).Stop(rewindtest.Immediate)
	old.Must(t).Promote()
	grow(old.Must(t))
	got := old.Must(t).Query("SET enable_seqscan = off; SELECT count(*) FROM p WHERE at <@ box '((0,0),(2001,2001))'")
	if want := old.Must(t).Query("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM p"); got[0][0] != want[0][0] {
		t.Errorf("the index finds %s rows of %s", got[0][0], want[0][0])
	}
}

// TestTruncatedAndExtended: a relation that was cut and has grown again holds
// pages that no record names.
func TestTruncatedAndExtended(t *testing.T) {
	t.Parallel()
	splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLE cut(i int, filler text)", "INSERT INTO cut SELECT i, repeat('x', 500) FROM generate_series(1, 3000) i",
				"CREATE TABLE emptied AS SELECT generate_series(1, 5000) i", "CHECKPOINT")
		},
		old: func(n rewindtest.MustNode) {
			n.Exec("DELETE FROM cut WHERE i > 500", "VACUUM cut", "INSERT INTO cut SELECT i, repeat('z', 700) FROM generate_series(9000, 9800) i",
				"BEGIN; TRUNCATE emptied; INSERT INTO emptied SELECT -i FROM generate_series(1, 2000) i; COMMIT", "CHECKPOINT")
		},
		leader: func(n rewindtest.MustNode) {
			n.Exec("UPDATE cut SET filler = 'short' WHERE i % 10 = 0", "DELETE FROM cut WHERE i > 2500", "VACUUM cut")
		},
		kill: true, stockFails: true,
	}.compareWays(t)
}

// TestUnloggedUnderTheSameNumber: the old primary makes an unlogged table, of
// whose rows the WAL says nothing, in a file whose number the leader gives to a
// table of its own.
func TestUnloggedUnderTheSameNumber(t *testing.T) {
	t.Parallel()
	old, leader, _ := splitBrain{
		common: func(n rewindtest.MustNode) { n.Checkpoint() },
		old: func(n rewindtest.MustNode) {
			n.Exec("CREATE UNLOGGED TABLE mine(i int, filler text)", "INSERT INTO mine SELECT i, repeat('x', 500) FROM generate_series(1, 4000) i", "CHECKPOINT")
		},
		leader: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLE yours(i int, filler text)", "INSERT INTO yours SELECT i, repeat('y', 500) FROM generate_series(1, 4000) i", "DELETE FROM yours WHERE i % 3 = 0")
		},
		sameNumbers: true,
	}.compareWays(t)
	path := "SELECT pg_relation_filepath('yours')"
	if a, b := old.Must(t).Value(path), leader.Must(t).Value(path); a != b {
		t.Errorf("file %s here and %s on the leader", a, b)
	}
}

// TestJustPromoted: the control file of a source that has made no checkpoint
// since its promotion still names the old timeline.
func TestJustPromoted(t *testing.T) {
	t.Parallel()
	old := newPrimary(t)
	old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
	leader := old.Standby(t, "leader")
	old.Must(t).Exec("CHECKPOINT", "CREATE TABLE dirty AS SELECT i, repeat('x', 2000) v FROM generate_series(1, 3000) i", "CHECKPOINT")
	leader.Must(t).WaitForCatchup(old)
	slowRestartpoint(t, leader) // the checkpoint of the promotion waits for its end
	leader.Must(t).Promote()
	old.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 100)")
	leader.Must(t).Exec("DELETE FROM t WHERE i < 50")
	old.Must(t).Stop(rewindtest.Fast)
	if tli := leader.Must(t).Value("SELECT timeline_id FROM pg_control_checkpoint()"); tli != "1" {
		t.Fatalf("the leader's last checkpoint is on timeline %s already", tli)
	}
	stockSays(t, old, leader)
	if p := bringBack(t, old, leader).Plan; p.Strategy != rewind.StrategyWAL {
		t.Fatalf("strategy %s: %s", p.Strategy, p.Reason)
	}
	prove(t, old, leader)
}

// TestRunAgainBeforeStart: a second run finds a directory that is finished and
// was never started. It has nothing to do and must not do anything.
func TestRunAgainBeforeStart(t *testing.T) {
	t.Parallel()
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i") },
		old:    func(n rewindtest.MustNode) { n.Exec("INSERT INTO t SELECT generate_series(1, 100)") },
		leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i < 50") },
		kill:   true,
	}.make(t)
	// A transaction that is open at the leader's last checkpoint, and has more
	// to say than has reached the disk.
	_, commit := openTransaction(t, leader, "INSERT INTO t SELECT generate_series(1, 10)")
	leader.Must(t).Exec("CHECKPOINT", "SELECT pg_logical_emit_message(false, 'a', repeat('b', 3000))")
	if other := stockSays(t, old, leader); other != nil {
		if err := rewindtest.PgRewind(t, old.Install, other.Dir, leader.Conninfo()); err != nil {
			t.Logf("stock pg_rewind for the second time: %v", err)
		}
	}
	bringBack(t, old, leader)
	before := snapshot(t, old.Dir)
	p := bringBack(t, old, leader).Plan
	if p.Strategy != rewind.StrategyNone || len(p.Entries) != 0 || len(p.WAL.Fetch)+len(p.WAL.SetAside) != 0 || p.WAL.Trim != nil {
		t.Errorf("the second plan: strategy %s, %d entries, WAL %+v; want nothing", p.Strategy, len(p.Entries), p.WAL)
	}
	sameSnapshot(t, "the second run", snapshot(t, old.Dir), before)
	commit()
	prove(t, old, leader)
}

// TestReceivedAndNotReplayed: a standby has WAL of the branch that is given up,
// and has not replayed it. Nothing has to be copied, but at its next start it
// would replay what it has.
func TestReceivedAndNotReplayed(t *testing.T) {
	t.Parallel()
	primary := newPrimary(t)
	primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
	leader, target := primary.Standby(t, "leader"), primary.Standby(t, "target")
	for _, n := range []*rewindtest.Node{leader, target} {
		n.Must(t).WaitForCatchup(primary)
	}
	target.Must(t).Exec("SELECT pg_wal_replay_pause()")
	leader.Must(t).Promote()
	leader.Must(t).Exec("CHECKPOINT", "DELETE FROM t WHERE i < 100")
	primary.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 30000)") // some segments
	end := primary.Must(t).Value("SELECT pg_current_wal_flush_lsn()")
	waitFor(t, target, "SELECT pg_last_wal_receive_lsn() >= '"+end+"'")
	target.Must(t).Stop(rewindtest.Fast)
	primary.Must(t).Stop(rewindtest.Fast)
	stockSays(t, target, leader)
	p := bringBack(t, target, leader).Plan
	if p.Strategy != rewind.StrategyNone || len(p.WAL.SetAside) == 0 || p.WAL.Trim == nil {
		t.Errorf("strategy %s, %d set aside, trim %v", p.Strategy, len(p.WAL.SetAside), p.WAL.Trim)
	}
	if len(p.Entries) != 0 || p.Totals.FetchBytes != 0 {
		t.Errorf("%d entries and %d bytes; want none", len(p.Entries), p.Totals.FetchBytes)
	}
	noOwnFiles(t, target.Dir)
	prove(t, target, leader)
}

// waitFor polls until a query gives true.
func waitFor(t *testing.T, n *rewindtest.Node, query string) {
	t.Helper()
	waitForMust(t, n.Must(t), query)
}

func waitForMust(t *testing.T, n rewindtest.MustNode, query string) {
	t.Helper()
	await(t, query, func() bool { return n.Value(query) == "t" })
}

// await polls for what announces itself in no other way.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
