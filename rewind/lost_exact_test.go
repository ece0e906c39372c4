package rewind_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// lostScene is an old primary that did known things behind the fork.
type lostScene struct {
	old, leader *rewindtest.Node
	// paths are the files of tables by name, as they were before they went.
	paths map[string]string
}

// newLostScene makes it. Nothing else writes on either side.
func newLostScene(t *testing.T, install rewindtest.Install) *lostScene {
	t.Helper()
	old := rewindtest.NewPrimary(t, install, quietCluster())
	o := old.Must(t)
	for _, table := range []string{"plain", "parts", "emptied", "fulled", "widened", "dropped", "renamed", "grown", "given_up"} {
		o.Exec("CREATE TABLE "+table+"(i int, v text)", "INSERT INTO "+table+" SELECT i, 'before' FROM generate_series(1, 100) i")
	}
	o.Exec("CREATE SCHEMA old_schema", "CREATE SEQUENCE counter", "CREATE DATABASE old_db", "CREATE MATERIALIZED VIEW seen AS SELECT * FROM plain",
		"CREATE INDEX plain_i ON plain(i)")
	leader := old.Standby(t, "leader")
	_, begun := openTransaction(t, old, "INSERT INTO plain SELECT i, 'began before' FROM generate_series(1, 20) i")
	o.Exec("BEGIN; INSERT INTO plain SELECT i, 'prepared before' FROM generate_series(1, 2) i; PREPARE TRANSACTION 'from before'")
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	leader.Must(t).Exec("CHECKPOINT", "CREATE TABLE of_the_leader(i int)")
	s := &lostScene{old: old, leader: leader, paths: map[string]string{}}
	for _, table := range []string{"plain", "parts", "emptied", "fulled", "widened", "dropped", "given_up"} {
		s.paths[table] = o.Value("SELECT pg_relation_filepath('" + table + "')")
	}
	begun()
	s.rows(t)
	s.schema(t)
	for _, table := range []string{"made", "widened now"} {
		s.paths[table] = o.Value("SELECT pg_relation_filepath('" + strings.TrimSuffix(table, " now") + "')")
	}
	openTransaction(t, old, "INSERT INTO plain SELECT i, 'open' FROM generate_series(1, 11) i")
	o.Exec("SELECT pg_switch_wal()") // flushes what nobody committed
	return s
}

// rows changes rows in every way there is.
func (s *lostScene) rows(t *testing.T) {
	t.Helper()
	s.old.Must(t).Exec(
		"INSERT INTO plain SELECT i, 'x' FROM generate_series(1001, 1007) i",
		"UPDATE plain SET v = 'y' WHERE i IN (1, 2, 3)", // of the first rows, and of those that began before
		"DELETE FROM plain WHERE i IN (50, 51)",
		"BEGIN; INSERT INTO plain SELECT i, 'rolled back' FROM generate_series(1, 4) i; DELETE FROM plain WHERE i = 60; ROLLBACK",
		`BEGIN; INSERT INTO parts VALUES (1); SAVEPOINT a; INSERT INTO parts SELECT generate_series(1, 5); ROLLBACK TO a;
			INSERT INTO parts SELECT generate_series(1, 2); SAVEPOINT b; INSERT INTO parts SELECT generate_series(1, 3); COMMIT`,
		"BEGIN; INSERT INTO parts SELECT generate_series(1, 8); PREPARE TRANSACTION 'left'",
		"BEGIN; SAVEPOINT a; INSERT INTO parts SELECT generate_series(1, 9); RELEASE a; PREPARE TRANSACTION 'done'",
		"COMMIT PREPARED 'done'",
		"BEGIN; INSERT INTO parts SELECT generate_series(1, 10); PREPARE TRANSACTION 'not done'",
		"ROLLBACK PREPARED 'not done'",
		"COMMIT PREPARED 'from before'",
		"SELECT nextval('counter') FROM generate_series(1, 5)")
}

// schema changes the schema.
func (s *lostScene) schema(t *testing.T) {
	t.Helper()
	o := s.old.Must(t)
	o.Exec(
		"INSERT INTO emptied VALUES (1)", "TRUNCATE emptied",
		"VACUUM FULL fulled",
		"ALTER TABLE widened ALTER i TYPE bigint", "INSERT INTO widened SELECT generate_series(1, 6)",
		"DELETE FROM dropped WHERE i < 5", "DROP TABLE dropped",
		"ALTER TABLE renamed RENAME TO other_name",
		"ALTER TABLE grown ADD COLUMN more int",
		"BEGIN; TRUNCATE given_up; CREATE TABLE never(i int); ROLLBACK",
		"CREATE SCHEMA new_schema",
		"CREATE TABLE made(id serial PRIMARY KEY, v text)", "INSERT INTO made(v) SELECT 'x' FROM generate_series(1, 12)",
		"CREATE TABLE new_schema.\"Odd name\"(i int)",
		"CREATE VIEW looked AS SELECT * FROM plain",
		"REFRESH MATERIALIZED VIEW seen",
		"REINDEX INDEX plain_i",
		"CREATE ROLE somebody", "CREATE FUNCTION seven() RETURNS int LANGUAGE sql AS 'SELECT 7'",
		"DROP SCHEMA old_schema",
		"CREATE DATABASE new_db", "DROP DATABASE old_db")
	o.ExecIn("new_db", "CREATE TABLE inside(i int)")
}

// words prints changes as people read them.
func words(changes []rewind.LostChange) []string {
	var out []string
	for _, c := range changes {
		name := strings.TrimPrefix(c.Schema+"."+c.Name, ".")
		if c.DatabaseName != "" {
			name = c.DatabaseName + " " + name
		}
		if c.NewName != "" {
			name += " to " + c.NewName
		}
		out = append(out, fmt.Sprintf("%s %s %s", c.Verb, c.Kind, name))
	}
	return out
}

// wantChanges are those of schema.
func wantChanges() []string {
	return []string{
		"emptied table postgres public.emptied",
		"rewritten table postgres public.fulled",
		"rewritten table postgres public.widened",
		"dropped table postgres public.dropped",
		"renamed table postgres public.renamed to other_name",
		"altered table postgres public.grown",
		"created schema postgres new_schema",
		"created sequence postgres public.made_id_seq", "created table postgres public.made", "created index postgres public.made_pkey",
		"created table postgres new_schema.Odd name",
		"created view postgres public.looked",
		"rewritten materialized view postgres public.seen",
		"rebuilt index postgres public.plain_i",
		"created role somebody", "created function postgres seven",
		"dropped schema postgres old_schema",
		"created database new_db", "dropped database old_db",
		"created table new_db public.inside",
	}
}

// check compares an answer with what was done.
func (s *lostScene) check(t *testing.T, l rewind.Lost) {
	t.Helper()
	rows := func(i, u, d int64) rewind.LostRows { return rewind.LostRows{Inserted: i, Updated: u, Deleted: d} }
	for table, want := range map[string]rewind.LostRelation{
		"plain":       {LostRows: rows(20+7+2, 3+3, 2), RolledBack: rows(4, 0, 1), Unfinished: rows(11, 0, 0)},
		"parts":       {LostRows: rows(6+9, 0, 0), RolledBack: rows(5+10, 0, 0), Unfinished: rows(8, 0, 0)},
		"emptied":     {LostRows: rows(1, 0, 0), Removed: true},
		"fulled":      {Removed: true},
		"widened":     {Removed: true},
		"widened now": {LostRows: rows(6, 0, 0), Copied: 100, Created: true},
		"dropped":     {LostRows: rows(0, 0, 4), Removed: true},
		"made":        {LostRows: rows(12, 0, 0), Created: true},
		"given_up":    {},
	} {
		got := rewind.LostRelation{}
		for _, r := range l.Relations {
			if r.Path == s.paths[table] {
				if name := strings.TrimSuffix(table, " now"); table != "plain" && table != "parts" && (r.Name != name || r.Schema != "public" || r.Kind != "table") {
					t.Errorf("%s: its file is that of %s %q.%q", table, r.Kind, r.Schema, r.Name)
				}
				got = rewind.LostRelation{LostRows: r.LostRows, RolledBack: r.RolledBack, Unfinished: r.Unfinished, Copied: r.Copied, Created: r.Created, Removed: r.Removed}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", table, d)
		}
	}
	if d := cmp.Diff(wantChanges(), words(l.Changes)); d != "" {
		t.Errorf("changes of the schema (-want +got):\n%s", d)
	}
	if l.Prepared != 1 || l.Open != 1 || l.UnreadChanges != 0 || l.Unattributed != 0 {
		t.Errorf("%d prepared, %d open, %d changes not read, %d rows not attributed; want 1, 1, 0, 0", l.Prepared, l.Open, l.UnreadChanges, l.Unattributed)
	}
	s.checkSequence(t, l)
}

func (s *lostScene) checkSequence(t *testing.T, l rewind.Lost) {
	t.Helper()
	var last []int64
	for _, r := range l.Relations {
		if r.LastValue != nil && !r.Created {
			last = append(last, *r.LastValue)
		}
	}
	if d := cmp.Diff([]int64{33}, last); d != "" { // five were given out; the first use logs 32 ahead
		t.Errorf("sequences (-want +got):\n%s", d)
	}
}

// checkTransactions looks at the list.
func (s *lostScene) checkTransactions(t *testing.T, l rewind.Lost) {
	t.Helper()
	count := map[rewind.TransactionState]int64{}
	var marked []string
	for _, x := range l.Transactions {
		count[x.State]++
		if x.BeganBefore || x.GID != "" || x.State == rewind.TransactionOpen {
			marked = append(marked, fmt.Sprintf("%s %q %d %t", x.State, x.GID, x.Sum(), x.BeganBefore))
		}
		if x.Time.IsZero() != (x.State == rewind.TransactionOpen) {
			t.Errorf("transaction %d, %s, at %s", x.XID, x.State, x.Time)
		}
	}
	want := []string{`committed "" 20 true`, `committed "done" 9 false`, `rolled back "not done" 10 false`, `committed "from before" 2 true`,
		`prepared "left" 8 false`, `open "" 11 false`}
	if d := cmp.Diff(want, marked); d != "" {
		t.Errorf("transactions (-want +got):\n%s", d)
	}
	if count[rewind.TransactionCommitted] != l.Commits || count[rewind.TransactionRolledBack] != l.Aborts || l.Aborts != 4 || l.MoreTransactions != 0 {
		t.Errorf("%v in the list, %d more; %d commits, %d aborts, want 4 aborts", count, l.MoreTransactions, l.Commits, l.Aborts)
	}
}

// TestLostExactly: what was done behind the fork is what is told, from a server
// that runs, from one that was killed, as a part of the plan, and while a rewind
// of it is interrupted; and nothing in the directory changes by asking.
func TestLostExactly(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		s := newLostScene(t, install)
		e := engineFor(t, s.old, s.leader)
		running, err := e.Lost(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.check(t, running.Lost)
		s.checkTransactions(t, running.Lost)
		s.old.Must(t).Kill()
		before := snapshot(t, s.old.Dir)
		killed, err := e.Lost(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before, snapshot(t, s.old.Dir)); d != "" {
			t.Errorf("asking changed the directory (-before +after):\n%s", d)
		}
		s.check(t, killed.Lost)
		s.checkTransactions(t, killed.Lost)
		plan, err := e.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.check(t, plan.Lost)
		if len(plan.Lost.Transactions) != 0 {
			t.Errorf("%d transactions in the plan, want none", len(plan.Lost.Transactions))
		}
		s.salvage(t, plan, killed.Lost)
		s.interrupted(t, killed.Lost)
	})
}

// interrupted kills a rewind at some of its steps and asks again.
func (s *lostScene) interrupted(t *testing.T, want rewind.Lost) {
	t.Helper()
	e := s.engine(t, s.old.Clone(t, "whole"))
	steps := noteSteps(e)
	run(t, e)
	n := len(*steps)
	latched := slices.Index(*steps, "rename global/pg_control")
	for _, at := range []int{(latched + n) / 2, slices.Index(*steps, "publish global/pg_control")} {
		copied := s.old.Clone(t, fmt.Sprintf("killed%d", at))
		e := s.engine(t, copied)
		left := at
		e.BeforeWrite(func(string, string) error {
			if left--; left < 0 {
				return errKilled
			}
			return nil
		})
		p, err := e.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Apply(t.Context(), p); !errors.Is(err, errKilled) {
			t.Fatalf("step %d: %v", at, err)
		}
		before := snapshot(t, copied.Dir)
		b, err := s.engine(t, copied).Lost(t.Context())
		if err != nil {
			t.Fatalf("killed at step %d, %s: %v", at, filepath.Base((*steps)[at]), err)
		}
		if d := cmp.Diff(want, b.Lost); d != "" || b.Resumed != (at > latched) {
			t.Errorf("killed at step %d of %d: resumed %t (-want +got):\n%s", at, n, b.Resumed, d)
		}
		if d := cmp.Diff(before, snapshot(t, copied.Dir)); d != "" {
			t.Errorf("asking changed the directory (-before +after):\n%s", d)
		}
	}
}

func (s *lostScene) engine(t *testing.T, n *rewindtest.Node) *rewind.Engine {
	t.Helper()
	e := engineFor(t, n, s.leader)
	e.Options.Workers, e.Options.NoSync = 1, true
	return e
}
