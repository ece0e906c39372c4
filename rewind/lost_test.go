package rewind_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestLostCreated: what was made behind the fork is marked, because the leader
// gives the same numbers out for other things; what was only changed, emptied
// or dropped there is not.
func TestLostCreated(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		pair := rewindtest.Diverged(t, install, rewindtest.Opts{Rows: 100, Steps: 5, OldRunning: true,
			Before: func(old, _ *rewindtest.Node) error {
				return old.Exec(
					"CREATE TABLE changed AS SELECT generate_series(1, 10) a",
					"CREATE TABLE emptied AS SELECT generate_series(1, 10) a",
					"CREATE TABLE dropped AS SELECT generate_series(1, 10) a",
					"CREATE TABLE rewritten AS SELECT generate_series(1, 10) a")
			}})
		old := pair.Old.Must(t)
		path := func(relation string) string { return old.Value("SELECT pg_relation_filepath('" + relation + "')") }
		dropped := path("dropped")
		old.Exec(
			"INSERT INTO changed VALUES (11)",
			"DELETE FROM emptied", "VACUUM emptied",
			"INSERT INTO dropped VALUES (11)", "DROP TABLE dropped",
			"VACUUM FULL rewritten", "INSERT INTO rewritten VALUES (11)",
			"CREATE TABLE made AS SELECT generate_series(1, 10) a",
			"CREATE DATABASE other")
		if size := old.Value("SELECT pg_relation_size('emptied')"); size != "0" {
			t.Fatalf("the emptied table has %s bytes; VACUUM was to cut it to nothing", size)
		}
		want := map[string]bool{
			path("changed"): false, path("emptied"): false, dropped: false,
			path("rewritten"): true, path("made"): true,
		}
		other := pg.RelPath(pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: oidOf(t, pair.Old, "other"), Rel: 1249}, pg.MainFork, 0, pg.Major(install.Major))
		pair.Old.Must(t).Kill()

		plan, err := engineFor(t, pair.Old, pair.New).Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]rewind.LostRelation{}
		for _, l := range plan.Lost.Relations {
			got[l.Path] = l
		}
		for path, created := range want {
			if l, ok := got[path]; !ok || l.Created != created {
				t.Errorf("%s: got %+v (there: %t), want created %t", path, l, ok, created)
			}
		}
		if l, ok := got[other]; ok && !l.Created { // 15 and later log its pages
			t.Errorf("%s, in a database that was made: got %+v", other, l)
		}
	})
}

func oidOf(t *testing.T, n *rewindtest.Node, database string) pg.Oid {
	t.Helper()
	f, ok := pg.ParseRelPath("base/"+n.Must(t).Value("SELECT oid FROM pg_database WHERE datname = '"+database+"'")+"/1249", 15)
	if !ok {
		t.Fatalf("no database %s", database)
	}
	return f.DB
}
