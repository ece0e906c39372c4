package rewind_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// moveWAL moves a stopped node's pg_wal elsewhere and leaves a link.
func moveWAL(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	wal, to := filepath.Join(n.Dir, "pg_wal"), filepath.Join(rewindtest.NewRoot(t), "wal")
	if err := os.Rename(wal, to); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, wal); err != nil {
		t.Fatal(err)
	}
}

// bringBackFromDir rewinds from the directory of a stopped leader.
func bringBackFromDir(t *testing.T, target, leader *rewindtest.Node) {
	t.Helper()
	src, err := source.OpenDir(leader.Dir)
	must(t, err)
	defer func() { must(t, src.Close()) }()
	run(t, &rewind.Engine{PGData: target.Dir, Source: src, Options: rewind.Options{
		Standby: &rewind.Standby{Conninfo: leader.Conninfo("application_name=" + target.Name)},
	}})
}

// TestLinkedWAL: pg_wal is a link on the target, on the source, on both, and on
// a source that is a stopped directory.
func TestLinkedWAL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                    string
		target, source, stopped bool
	}{{"target", true, false, false}, {"source", false, true, false}, {"both", true, true, false}, {"stopped source", false, true, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pair := rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 41, Rows: 100, Steps: 15, Cluster: quietCluster()})
			if c.target {
				moveWAL(t, pair.Old)
			}
			if c.source {
				pair.New.Must(t).Stop(rewindtest.Fast)
				moveWAL(t, pair.New)
			}
			if c.stopped {
				bringBackFromDir(t, pair.Old, pair.New)
			}
			if c.source {
				pair.New.Must(t).Start()
			}
			if !c.stopped {
				bringBack(t, pair.Old, pair.New)
			}
			noOwnFiles(t, pair.Old.Dir)
			fi, err := os.Lstat(filepath.Join(pair.Old.Dir, "pg_wal"))
			if err != nil || (fi.Mode()&os.ModeSymlink != 0) != c.target {
				t.Errorf("pg_wal is %v, %v", fi.Mode(), err)
			}
			prove(t, pair.Old, pair.New)
		})
	}
}

// TestTablespaces: linked and, from 15 on, in-place ones, with changes on both
// sides, and a database in one of them.
func TestTablespaces(t *testing.T) {
	t.Parallel()
	dir := rewindtest.NewRoot(t)
	change := func(side int) func(n rewindtest.MustNode) {
		return func(n rewindtest.MustNode) {
			n.Exec(fmt.Sprintf("INSERT INTO spaced SELECT %d, repeat('x', 300) FROM generate_series(1, 2000)", side),
				fmt.Sprintf("CREATE TABLE only%d TABLESPACE away AS SELECT generate_series(1, %d) i", side, side*1000),
				fmt.Sprintf("ALTER TABLE mover%d SET TABLESPACE away", side))
			n.ExecIn("inspace", fmt.Sprintf("CREATE TABLE only%d AS SELECT generate_series(1, %d) i", side, side*1000))
		}
	}
	inPlace := rewindtest.Newest(t).Major >= 15
	common := func(n rewindtest.MustNode) {
		n.Exec("CREATE TABLESPACE away LOCATION '"+dir+"'", "CREATE DATABASE inspace TABLESPACE away",
			"CREATE TABLE spaced(i int, filler text) TABLESPACE away", "INSERT INTO spaced SELECT i, 'x' FROM generate_series(1, 500) i",
			"CREATE TABLE mover1 AS SELECT generate_series(1, 500) i", "CREATE TABLE mover2 AS SELECT generate_series(1, 500) i")
		if inPlace {
			n.SetConf("allow_in_place_tablespaces", "on")
			n.Exec("CREATE TABLESPACE here LOCATION ''",
				"CREATE TABLE placed TABLESPACE here AS SELECT generate_series(1, 500) i")
		}
		n.Exec("CHECKPOINT") // replay of CREATE TABLESPACE would make the link anew, to the primary's directory
	}
	both := func(side int) func(n rewindtest.MustNode) {
		return func(n rewindtest.MustNode) {
			change(side)(n)
			if inPlace {
				n.Exec(fmt.Sprintf("INSERT INTO placed SELECT i * %d FROM generate_series(1, 1000) i", side))
			}
		}
	}
	old, leader, _ := splitBrain{common: common, old: both(1), leader: both(2), kill: true}.compareWays(t)
	a, b := tablespaceDir(t, old), tablespaceDir(t, leader)
	if a == b {
		t.Errorf("both nodes have their tablespace in %s", a)
	}
}

func tablespaceDir(t *testing.T, n *rewindtest.Node) string {
	t.Helper()
	oid := n.Must(t).Value("SELECT oid FROM pg_tablespace WHERE spcname = 'away'")
	to, err := os.Readlink(filepath.Join(n.Dir, "pg_tblspc", oid))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// TestDatabases come and go on either side, under the same OIDs too.
func TestDatabases(t *testing.T) {
	t.Parallel()
	splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE a", "CREATE DATABASE b")
			n.ExecIn("a", "CREATE TABLE t AS SELECT generate_series(1, 1000) i")
			n.ExecIn("b", "CREATE TABLE t AS SELECT generate_series(1, 1000) i")
		},
		old: func(n rewindtest.MustNode) {
			n.Exec("DROP DATABASE a", "CREATE DATABASE mine")
			n.ExecIn("mine", "CREATE TABLE t AS SELECT generate_series(1, 3000) i")
			n.ExecIn("b", "CREATE TABLE u AS SELECT generate_series(1, 3000) i")
		},
		leader: func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE yours", "DROP DATABASE b")
			n.ExecIn("yours", "CREATE TABLE t AS SELECT generate_series(1, 500) i")
		},
		sameNumbers: true,
	}.compareWays(t)
}

// TestUnlogged: relations without WAL, made, changed, and turned into the other
// kind on either side.
func TestUnlogged(t *testing.T) {
	t.Parallel()
	turn := func(which string) func(n rewindtest.MustNode) {
		return func(n rewindtest.MustNode) {
			n.Exec("INSERT INTO u SELECT generate_series(1, 3000)", "INSERT INTO l SELECT generate_series(1, 3000)", "CHECKPOINT",
				"TRUNCATE u"+which, "INSERT INTO u"+which+" SELECT generate_series(1, 700)", // what a promoted standby had is gone
				"ALTER TABLE u"+which+" SET LOGGED", "ALTER TABLE l"+which+" SET UNLOGGED",
				"CREATE UNLOGGED TABLE made"+which+" AS SELECT generate_series(1, 100) i")
		}
	}
	old, leader, _ := splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE UNLOGGED TABLE u(i int primary key)", "CREATE TABLE l(i int primary key)",
				"CREATE UNLOGGED TABLE u1 AS SELECT generate_series(1, 1000) i", "CREATE UNLOGGED TABLE u2 AS SELECT generate_series(1, 1000) i",
				"CREATE UNLOGGED TABLE indexed(n serial PRIMARY KEY, v text, a int[])", "CREATE INDEX indexed_v ON indexed USING hash (v)",
				"CREATE INDEX indexed_a ON indexed USING gin (a)", "INSERT INTO indexed(v, a) SELECT i, ARRAY[i] FROM generate_series(1, 2000) i",
				"CREATE TABLE l1 AS SELECT generate_series(1, 1000) i", "CREATE TABLE l2 AS SELECT generate_series(1, 1000) i", "CHECKPOINT")
		},
		old: turn("1"), leader: turn("2"), sameNumbers: true,
	}.compareWays(t)
	// A standby cannot read unlogged tables; a primary finds them empty.
	leader.Must(t).Stop(rewindtest.Immediate)
	old.Must(t).Promote()
	if got := old.Must(t).Value("SELECT (SELECT count(*) FROM u) || ' ' || (SELECT count(*) FROM made2) || ' ' || (SELECT count(*) FROM u2)"); got != "0 0 700" {
		t.Errorf("rows of unlogged and once unlogged tables: %s", got)
	}
	old.Must(t).Exec("INSERT INTO indexed(v, a) SELECT i, ARRAY[i] FROM generate_series(1, 700) i")
	for _, where := range []string{"n > 0", "v = '77'", "a @> '{77}'"} {
		want := map[bool]string{true: "700", false: "1"}[where == "n > 0"]
		rows := old.Must(t).Query("SET enable_seqscan = off; SELECT count(*) FROM indexed WHERE " + where)
		if rows[0][0] != want {
			t.Errorf("unlogged and indexed: %s rows with %s, want %s", rows[0][0], where, want)
		}
	}
}

// TestManyTimelines: the target was demoted, promoted again and so switched its
// timeline twice behind the fork, the source once.
func TestManyTimelines(t *testing.T) {
	t.Parallel()
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i") },
		old:    func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i < 100") },
		leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i > 900") },
	}.make(t)
	for i := range 2 {
		// A standby of nobody that promotes itself.
		if err := os.WriteFile(filepath.Join(old.Dir, "standby.signal"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		old.Must(t).Start()
		old.Must(t).Promote()
		old.Must(t).Exec(fmt.Sprintf("INSERT INTO t SELECT %d * i FROM generate_series(1, 5000) i", i+2))
		old.Must(t).Stop(rewindtest.Fast)
	}
	p := bringBack(t, old, leader).Plan
	if len(p.Target.History) != 3 || len(p.Source.History) != 2 || p.Fork.Timeline != 1 {
		t.Errorf("histories %v and %v, fork %v", p.Target.History, p.Source.History, p.Fork)
	}
	prove(t, old, leader)
}

// TestForkAtSegmentBoundary: the last that both have is a switch of segments, or
// ends at the end of a page, and the leader has written nothing since its own.
func TestForkAtSegmentBoundary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, before, leader string
	}{
		{"switch before the fork", "SELECT pg_switch_wal()", "CREATE TABLE y(i int)"},
		{"switch on the leader last of all", "SELECT 1", "SELECT pg_switch_wal()"},
		{"both", "SELECT pg_switch_wal()", "SELECT pg_switch_wal()"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old := newPrimary(t)
			old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
			leader := old.Standby(t, "leader")
			old.Must(t).Exec(c.before)
			leader.Must(t).WaitForCatchup(old)
			leader.Must(t).Promote()
			old.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 30000)")
			old.Must(t).Kill()
			leader.Must(t).Exec("CREATE TABLE x(i int)", "CHECKPOINT", c.leader)
			p := bringBack(t, old, leader).Plan
			if p.Strategy != rewind.StrategyWAL {
				t.Errorf("strategy %s", p.Strategy)
			}
			prove(t, old, leader)
		})
	}
}

// TestInsertedAndNotWritten: an open transaction of the leader's has inserted
// WAL up to just behind the beginning of a segment, of which nothing is in a file.
func TestInsertedAndNotWritten(t *testing.T) {
	t.Parallel()
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t(i int, v text)") },
		old:    func(n rewindtest.MustNode) { n.Exec("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 1000) i") },
		leader: nothing,
	}.make(t)
	// The rest of the segment but 2000 bytes, and a record that goes over its end.
	leader.Must(t).Exec("SELECT pg_switch_wal()", "CREATE TABLE first(i int)")
	_, commit := openTransaction(t, leader, `INSERT INTO t VALUES (0, 'open');
		SELECT pg_logical_emit_message(false, 'a', repeat('b', (1048576 - 2000 - (pg_current_wal_insert_lsn() - '0/0') % 1048576 - 24 * 128)::int));
		SELECT pg_logical_emit_message(false, 'a', repeat('b', 6000))`)
	t.Log(leader.Must(t).Query("SELECT pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()"))
	e := engineFor(t, old, leader)
	p := run(t, e)
	if p.Strategy != rewind.StrategyWAL {
		t.Errorf("strategy %s", p.Strategy)
	}
	commit()
	prove(t, old, leader)
}
