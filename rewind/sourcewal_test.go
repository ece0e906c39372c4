package rewind_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// fileCopy is how CREATE DATABASE is told to copy files; up to 14 it always does.
func fileCopy(install rewindtest.Install) string {
	if install.Major < 15 {
		return ""
	}
	return " STRATEGY = file_copy"
}

// TestDatabaseCopiedAtTheSource: the leader makes a database by copying files,
// and changes, drops or moves what it was copied from. Replay of the copying
// would find something else there, or nothing.
func TestDatabaseCopiedAtTheSource(t *testing.T) {
	t.Parallel()
	how := fileCopy(rewindtest.Newest(t))
	const count = "SELECT count(*) FROM t WHERE v = 'x'"
	const change = "UPDATE t SET v = 'changed' WHERE i % 3 = 0"
	for _, c := range []struct {
		name   string
		leader func(n rewindtest.MustNode)
		// look is the database that is at stake, want how many rows are in it.
		look, want string
	}{
		{"changed since", func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE made TEMPLATE model" + how)
			n.ExecIn("model", "DELETE FROM t WHERE i % 2 = 0", change, "CREATE TABLE later AS SELECT generate_series(1, 100) i", "VACUUM")
			n.Checkpoint() // it is the disk that is fetched from
		}, "made", "1000"},
		{"dropped since", func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE made TEMPLATE model"+how, "DROP DATABASE model")
		}, "made", "1000"},
		{"moved", func(n rewindtest.MustNode) {
			n.Exec("ALTER DATABASE model SET TABLESPACE away")
			n.ExecIn("model", change)
		}, "model", "667"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := rewindtest.NewRoot(t)
			old, leader := splitBrain{
				common: func(n rewindtest.MustNode) {
					n.Exec("CREATE TABLESPACE away LOCATION '"+dir+"'", "CREATE DATABASE model")
					n.ExecIn("model", "CREATE TABLE t AS SELECT i, 'x' v FROM generate_series(1, 1000) i", "VACUUM t")
					n.Exec("CHECKPOINT")
				},
				old:    func(n rewindtest.MustNode) { n.ExecIn("model", "UPDATE t SET v = 'old' WHERE i % 2 = 0") },
				leader: c.leader,
			}.make(t)
			// Nobody may look at the databases on the leader before: hints that are set
			// there come with images, which would repair this side.
			if old.Install.Has("pg_rewind") {
				other := old.Clone(t, "stock")
				if err := other.RejoinByPgRewind(leader); err != nil {
					t.Logf("stock pg_rewind: %v", err)
				} else {
					rows, err := other.QueryIn(c.look, count)
					t.Logf("stock pg_rewind leaves %s rows in %s, want [[%s]]: %v", rows, c.look, c.want, err)
				}
			}
			bringBack(t, old, leader)
			old.Must(t).Start()
			old.Must(t).WaitForCatchup(leader)
			if rows, err := old.QueryIn(c.look, count); err != nil || rows[0][0] != c.want {
				t.Errorf("%s rows in %s, want %s: %v", rows, c.look, c.want, err)
			}
			rewindtest.CompareTables(t, leader, old)
			rewindtest.AmCheck(t, old)
		})
	}
}

// TestDatabaseCopiedAgainAtTheSource: it bears the OID of one that was there
// before, so that the directories of both sides do not tell. The run that meets
// the record says so, and the next one begins behind it.
func TestDatabaseCopiedAgainAtTheSource(t *testing.T) {
	t.Parallel()
	if rewindtest.Newest(t).Major < 15 {
		t.Skip("CREATE DATABASE with OID came with 15")
	}
	const create = "CREATE DATABASE again OID = 70000 TEMPLATE model STRATEGY = file_copy"
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE model", create)
			n.ExecIn("model", "CREATE TABLE t AS SELECT generate_series(1, 1000) i")
			n.Checkpoint()
		},
		old: func(n rewindtest.MustNode) { n.ExecIn("model", "DELETE FROM t WHERE i > 500") },
		leader: func(n rewindtest.MustNode) {
			n.Exec("DROP DATABASE again", create)
			n.ExecIn("model", "DELETE FROM t WHERE i < 500")
		},
	}.make(t)
	e := engineFor(t, old, leader)
	p, err := e.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = e.Apply(t.Context(), p); err == nil || !strings.Contains(err.Error(), "database") {
		t.Errorf("the first run: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(old.Dir, "global/pg_control")); err == nil {
		t.Error("the directory could be started")
	}
	if again := bringBack(t, old, leader).Plan; !again.Resumed || again.Replay.Redo <= p.Replay.Redo {
		t.Errorf("the next run: resumed %t, replay from %s after %s", again.Resumed, again.Replay.Redo, p.Replay.Redo)
	}
	prove(t, old, leader)
}

// TestFullPageWritesOffAtTheSource: they are on again, but were off at its last
// checkpoint, or for a while after it. A plan sees the one, the work the other,
// and after another checkpoint it goes on.
func TestFullPageWritesOffAtTheSource(t *testing.T) {
	t.Parallel()
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i") },
		old:    func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i > 500") },
		leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i < 500") },
	}.make(t)
	setFullPageWrites(t, leader, "off")
	leader.Must(t).Checkpoint()
	setFullPageWrites(t, leader, "on")
	refused(t, engineFor(t, old, leader), rewind.ErrSourceNotReady)

	leader.Must(t).Checkpoint()
	setFullPageWrites(t, leader, "off")
	leader.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 1000)")
	setFullPageWrites(t, leader, "on")
	e := engineFor(t, old, leader)
	p, err := e.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(t.Context(), p); !errors.Is(err, rewind.ErrSourceNotReady) {
		t.Fatalf("apply: %v, want %v", err, rewind.ErrSourceNotReady)
	}
	leader.Must(t).Checkpoint()
	if p := bringBack(t, old, leader).Plan; !p.Resumed {
		t.Error("the next run does not continue")
	}
	prove(t, old, leader)
}
