package rewind_test

import (
	"context"
	"errors"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// refusedByApply wants Apply to find that nothing sound can be done, and the
// directory as it was before.
func refusedByApply(t *testing.T, e *rewind.Engine, want error) {
	t.Helper()
	before := snapshot(t, e.PGData)
	p, err := e.Plan(context.Background())
	must(t, err)
	_, err = e.Apply(context.Background(), p)
	t.Log(err)
	if !errors.Is(err, want) {
		t.Errorf("apply: %v, want %v", err, want)
	}
	sameSnapshot(t, "a refusal", snapshot(t, e.PGData), before)
}

// TestMovedDatabase: the leader moves a database to another tablespace behind the
// fork. Replay copies its files from where they were, and they are gone by then.
func TestMovedDatabase(t *testing.T) {
	t.Parallel()
	space := rewindtest.NewRoot(t)
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLESPACE away LOCATION '"+space+"'", "CREATE DATABASE moved TABLESPACE away")
			n.ExecIn("moved", "CREATE TABLE t AS SELECT generate_series(1, 1000) i")
			n.Checkpoint()
		},
		old: func(n rewindtest.MustNode) { n.ExecIn("moved", "INSERT INTO t SELECT generate_series(1, 500)") },
		leader: func(n rewindtest.MustNode) {
			n.Exec("ALTER DATABASE moved SET TABLESPACE pg_default")
			n.ExecIn("moved", "DELETE FROM t WHERE i < 100")
			n.Checkpoint()
		},
		kill: true,
	}.make(t)
	copied := old.Clone(t, "stock")
	refusedByApply(t, engineFor(t, old, leader), rewind.ErrNoStrategy)
	// Without the database all is well again.
	t.Run("stock", func(t *testing.T) { stockOpens(t, copied, leader, "moved") })
	leader.Must(t).Exec("DROP DATABASE moved")
	bringBack(t, old, leader)
	prove(t, old, leader)
}

// stockOpens logs what pg_rewind makes of a database.
func stockOpens(t *testing.T, copied, leader *rewindtest.Node, database string) {
	t.Helper()
	if !copied.Install.Has("pg_rewind") {
		t.Skipf("%s has no pg_rewind", copied.Install)
	}
	if err := copied.RejoinByPgRewind(leader); err != nil {
		t.Logf("stock pg_rewind: %v", err)
		return
	}
	_, err := copied.QueryIn(database, "SELECT count(*) FROM t")
	t.Logf("stock pg_rewind leaves a database of which this can be said: %v", err)
}

// TestTemplateChangedLater: the leader makes a database by copying files, and
// changes the template afterwards. Replay copies the template as it is by then,
// as far as its blocks were fetched.
func TestTemplateChangedLater(t *testing.T) {
	t.Parallel()
	how := ""
	if rewindtest.Newest(t).Major >= 15 {
		how = " STRATEGY file_copy"
	}
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE model")
			n.ExecIn("model", "CREATE TABLE t AS SELECT generate_series(1, 1000) i")
			n.Checkpoint()
		},
		old: func(n rewindtest.MustNode) { n.ExecIn("model", "INSERT INTO t SELECT generate_series(1, 500)") },
		leader: func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE copied TEMPLATE model" + how)
			n.ExecIn("model", "INSERT INTO t SELECT generate_series(1, 5000)")
			n.Checkpoint()
		},
		kill: true,
	}.make(t)
	copied := old.Clone(t, "stock")
	refusedByApply(t, engineFor(t, old, leader), rewind.ErrNoStrategy)
	if copied.Install.Has("pg_rewind") {
		stock(t, copied, leader)
	}
}
