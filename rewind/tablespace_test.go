package rewind_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestTablespacesComeAndGo: made and dropped behind the fork, on either side and
// on both, linked and in place, with databases in them; some of them on another
// file system. Where the leader has made one the target's link leads, by hand, to
// a directory of its own: on one machine the leader's path is taken.
func TestTablespacesComeAndGo(t *testing.T) {
	t.Parallel()
	inPlace := rewindtest.Newest(t).Major >= 15
	mine, yours := rewindtest.OtherFileSystem(t), rewindtest.NewRoot(t)
	kept := make(map[string]string)
	for _, name := range []string{"dropped1", "dropped2", "dropped12", "filled"} {
		kept[name] = filepath.Join(rewindtest.NewRoot(t), "of \"node\" 1")
		must(t, os.Mkdir(kept[name], 0o700))
	}
	fill := func(n rewindtest.MustNode, space string, side int) {
		n.Exec(fmt.Sprintf("CREATE TABLE in_%s TABLESPACE %s AS SELECT generate_series(1, %d) i", space, space, 1000*side))
		n.Exec(fmt.Sprintf("CREATE DATABASE db_%s TABLESPACE %s", space, space))
	}
	empty := func(n rewindtest.MustNode, space string) {
		n.Exec("DROP TABLE in_"+space, "DROP DATABASE db_"+space, "DROP TABLESPACE "+space)
	}
	common := func(n rewindtest.MustNode) {
		for name, dir := range kept {
			n.Exec("CREATE TABLESPACE " + name + " LOCATION '" + dir + "'")
			fill(n, name, 1)
		}
		if inPlace {
			n.SetConf("allow_in_place_tablespaces", "on")
			for _, name := range []string{"here1", "here2", "here12"} {
				n.Exec("CREATE TABLESPACE " + name + " LOCATION ''")
				fill(n, name, 1)
			}
		}
		n.Exec("CHECKPOINT")
	}
	change := func(side int, location string) func(n rewindtest.MustNode) {
		return func(n rewindtest.MustNode) {
			empty(n, fmt.Sprint("dropped", side))
			empty(n, "dropped12")
			n.Exec(fmt.Sprintf("CREATE TABLESPACE made%d LOCATION '%s'", side, location)) // the same number on both sides
			fill(n, fmt.Sprint("made", side), side)
			n.Exec(fmt.Sprintf("CREATE DATABASE other%d TABLESPACE filled", side))
			if inPlace {
				empty(n, fmt.Sprint("here", side))
				empty(n, "here12")
				n.Exec(fmt.Sprintf("CREATE TABLESPACE new_here%d LOCATION ''", side), fmt.Sprintf("CREATE TABLESPACE more_here%d LOCATION ''", side))
				fill(n, fmt.Sprint("new_here", side), side)
			}
			n.Exec("CHECKPOINT", "INSERT INTO in_filled SELECT generate_series(1, 3000)")
		}
	}
	old, leader := splitBrain{common: common, old: change(1, mine), leader: change(2, yours), sameNumbers: true, kill: true}.make(t)
	// The tablespace that only the old primary has dropped: the link is gone, its place is not.
	oid := leader.Must(t).Value("SELECT oid FROM pg_tablespace WHERE spcname = 'dropped1'")
	must(t, os.Symlink(kept["dropped1"], filepath.Join(old.Dir, "pg_tblspc", oid)))
	made := leader.Must(t).Value("SELECT oid FROM pg_tablespace WHERE spcname = 'made2'")
	if to, err := os.Readlink(filepath.Join(old.Dir, "pg_tblspc", made)); err != nil {
		t.Logf("the numbers have drifted apart: %v", err)
		must(t, os.Symlink(mine, filepath.Join(old.Dir, "pg_tblspc", made)))
	} else if to != mine {
		t.Fatalf("pg_tblspc/%s leads to %s", made, to)
	}
	copied := old.Clone(t, "stock")
	p := bringBack(t, old, leader).Plan
	if p.Strategy != rewind.StrategyWAL {
		t.Fatalf("strategy %s", p.Strategy)
	}
	noOwnFiles(t, old.Dir)
	prove(t, old, leader)
	names := func(n *rewindtest.Node) (names []string) {
		entries, err := os.ReadDir(filepath.Join(n.Dir, "pg_tblspc"))
		must(t, err)
		for _, e := range entries {
			names = append(names, e.Name()+" "+e.Type().String())
		}
		return names
	}
	if got, want := fmt.Sprint(names(old)), fmt.Sprint(names(leader)); got != want {
		t.Errorf("tablespaces %s, want %s", got, want)
	}
	if left, err := os.ReadDir(kept["dropped2"]); err != nil || len(left) != 0 {
		t.Errorf("a tablespace that the leader dropped holds %v, %v", left, err)
	}
	if old.Install.Has("pg_rewind") {
		stock(t, copied, leader)
	}
	stopAll(t, true, leader, old)
}

// TestDatabaseStrategies: databases are made by copying files and, from 15 on,
// by WAL, and dropped, on either side and on both, some under the same number.
func TestDatabaseStrategies(t *testing.T) {
	t.Parallel()
	strategies := map[string]string{"copied": ""}
	if rewindtest.Newest(t).Major >= 15 {
		strategies = map[string]string{"copied": " STRATEGY file_copy", "logged": " STRATEGY wal_log"}
	}
	create := func(n rewindtest.MustNode, name, how string, rows int) {
		n.Exec(`CREATE DATABASE "` + name + `" TEMPLATE model` + how)
		n.ExecIn(name, fmt.Sprintf("CREATE TABLE own AS SELECT generate_series(1, %d) i", rows), "INSERT INTO model SELECT generate_series(1, 500)")
	}
	each := func(do func(name, how string)) {
		for name, how := range strategies {
			do(name+"\n' ", how)
		}
	}
	change := func(side int) func(n rewindtest.MustNode) {
		return func(n rewindtest.MustNode) {
			// Before the copies are made: behind them replay would copy what is newer.
			n.ExecIn("model", fmt.Sprintf("INSERT INTO model SELECT generate_series(1, %d)", 1000*side))
			each(func(name, how string) {
				n.Exec(fmt.Sprintf(`DROP DATABASE "%s%d"`, name, side), `DROP DATABASE "`+name+`12"`)
				create(n, fmt.Sprint(name, "made", side), how, 700*side)
				create(n, name+"again", how, 300*side) // on both sides, by the same name
				n.ExecIn(name+"stays", fmt.Sprintf("CREATE TABLE later AS SELECT generate_series(1, %d) i", 1000*side), "DELETE FROM model WHERE i % 3 = 0")
			})
			n.Checkpoint()
		}
	}
	splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE DATABASE model")
			n.ExecIn("model", "CREATE TABLE model AS SELECT generate_series(1, 2000) i", "CREATE INDEX ON model (i)")
			each(func(name, how string) {
				for _, which := range []string{"1", "2", "12", "stays"} {
					create(n, name+which, how, 400)
				}
			})
			n.Checkpoint()
		},
		old: change(1), leader: change(2), sameNumbers: true, kill: true, stockFails: true,
	}.compareWays(t)
}

// TestDatabasesOfAnyBytes: an SQL_ASCII cluster takes names that are no UTF-8.
func TestDatabasesOfAnyBytes(t *testing.T) {
	t.Parallel()
	opts := quietCluster()
	opts.InitArgs = []string{"--encoding=SQL_ASCII"}
	old := newPrimaryWith(t, opts)
	leader := old.Standby(t, "leader")
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	for side, n := range map[string]*rewindtest.Node{"old": old, "leader": leader} {
		n.Must(t).Exec("CREATE DATABASE \"l\xfcst\xff "+side+"\"", "CREATE TABLE \"\xfe\" AS SELECT generate_series(1, 1000) \"\xfd\"", "CHECKPOINT")
		write(t, filepath.Join(n.Dir, "base/\xfc/\xff'\n"), side)
	}
	old.Must(t).Kill()
	bringBack(t, old, leader)
	if got, err := os.ReadFile(filepath.Join(old.Dir, "base/\xfc/\xff'\n")); err != nil || string(got) != "leader" {
		t.Errorf("a file of odd name: %q, %v", got, err)
	}
	prove(t, old, leader)
}
