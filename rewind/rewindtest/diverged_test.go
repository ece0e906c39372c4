package rewindtest_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func TestDivergedPairComesBackByPgRewind(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		if !pg.Has("pg_rewind") {
			t.Skipf("%s has no pg_rewind", pg)
		}
		for name, opts := range map[string]rewindtest.Opts{
			"stopped": {Seed: 1, CheckpointsAfterFork: 1},
			"killed":  {Seed: 2, KillOld: true},
			"clean":   {Seed: 3, Clean: true},
			"quiet":   {Seed: 4, Quiet: true},
		} {
			t.Run(name, func(t *testing.T) {
				start := time.Now()
				p := rewindtest.Diverged(t, pg, opts)
				t.Logf("made in %s", time.Since(start).Round(time.Millisecond))
				if p.Old.Running() || !p.New.Running() {
					t.Fatalf("old running %v, new running %v; want false, true", p.Old.Running(), p.New.Running())
				}
				if diverged := p.OldEnd > p.Fork; p.Fork == 0 || diverged == opts.Clean {
					t.Errorf("fork at %s, old primary's WAL up to %s, clean %v", p.Fork, p.OldEnd, opts.Clean)
				}
				if err := p.Old.RejoinByPgRewind(p.New); err != nil {
					t.Fatal(err)
				}
				rewindtest.WaitStreaming(t, p.New, p.Old.Name, 2)
				rewindtest.CompareTables(t, p.Old, p.New)
				rewindtest.AmCheck(t, p.Old)
				rewindtest.AmCheck(t, p.New)
				p.Old.Must(t).Stop(rewindtest.Fast)
				rewindtest.Checksums(t, pg, p.Old.Dir)
			})
		}
	})
}

func TestOldRunningAndClone(t *testing.T) {
	pg := rewindtest.Newest(t)
	spaces := rewindtest.NewRoot(t)
	p := rewindtest.Diverged(t, pg, rewindtest.Opts{
		OldRunning: true, Rows: 50, Steps: 5,
		Before: func(old, _ *rewindtest.Node) error { return old.Exec("CREATE DATABASE other") },
	})
	old := p.Old.Must(t)
	if got := old.Value("SELECT pg_is_in_recovery()"); got != "f" {
		t.Errorf("old primary in recovery = %s", got)
	}
	old.Exec("CREATE TABLESPACE space LOCATION '" + spaces + "'")
	old.Exec("CREATE TABLE spaced TABLESPACE space AS SELECT 1 AS i")
	old.Stop(rewindtest.Fast)

	clone := p.Old.Clone(t, "clone")
	if diff := rewindtest.DiffTrees(t, p.Old.Dir, clone.Dir, nil); len(diff) != 1 || diff[0].Path != "postgresql.conf" {
		t.Errorf("clone differs in %v, want only its postgresql.conf", diff)
	}
	c := clone.Must(t)
	c.Start()
	c.Exec("INSERT INTO spaced VALUES (2)", "CHECKPOINT")
	old.Start()
	if got := old.Value("SELECT count(*) FROM spaced"); got != "1" {
		t.Errorf("the clone wrote into the original's tablespace: %s rows", got)
	}
	standby := p.Old.Standby(t, "standby") // maps the tablespace
	standby.Must(t).WaitForCatchup(p.Old)
	rewindtest.CompareTables(t, p.Old, standby)
}

func TestCompareFindsDifferences(t *testing.T) {
	root := rewindtest.NewRoot(t)
	a, err := rewindtest.CreatePrimary(root, rewindtest.Newest(t), rewindtest.Options{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.Must(t).Exec("CREATE TABLE t (t text)", "INSERT INTO t VALUES ('x'), ('y')", "CREATE SEQUENCE s",
		"CREATE DATABASE other", "SELECT lo_from_bytea(7, 'x')", "CREATE UNLOGGED TABLE u AS SELECT 1")
	a.Must(t).ExecIn("other", "CREATE TABLE o AS SELECT 1 AS i")
	a.Must(t).Stop(rewindtest.Fast)
	b, err := a.CreateClone("b")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a.Must(t).Start()
	b.Must(t).Start()
	if diff, err := rewindtest.Compare(a, b); err != nil || len(diff) != 0 {
		t.Fatalf("clones differ: %v, %v", diff, err)
	}
	for _, c := range []struct{ db, change, back, want string }{
		{"postgres", "UPDATE t SET t = 'z' WHERE t = 'y'", "UPDATE t SET t = 'y' WHERE t = 'z'", "table postgres public.t: 2 rows"},
		{"postgres", "INSERT INTO t VALUES ('x')", "DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t)", "table postgres public.t: 2 rows"},
		{"other", "DELETE FROM o", "INSERT INTO o VALUES (1)", "table other public.o: 1 rows"},
		{"postgres", "SELECT setval('s', 1000)", "SELECT setval('s', 1)", "sequence postgres public.s"},
		{"postgres", "CREATE ROLE somebody", "DROP ROLE somebody", "pg_authid"},
		{"postgres", "SELECT lo_put(7, 0, 'y')", "SELECT lo_put(7, 0, 'x')", "pg_largeobject"},
		{"other", "CREATE TABLE more (i int)", "DROP TABLE more", "table other public.more: missing on a"},
	} {
		b.Must(t).ExecIn(c.db, c.change)
		diff, err := rewindtest.Compare(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(diff, "\n"), c.want) {
			t.Errorf("after %s: %v, want %q among them", c.change, diff, c.want)
		}
		b.Must(t).ExecIn(c.db, c.back)
	}
}

func TestWorkloadIsDeterministic(t *testing.T) {
	root := rewindtest.NewRoot(t)
	var nodes []*rewindtest.Node
	for _, name := range []string{"a", "b"} {
		n, err := rewindtest.CreatePrimary(root, rewindtest.Newest(t), rewindtest.Options{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		w := rewindtest.NewWorkload(7)
		if err := w.Setup(n, 100); err != nil {
			t.Fatal(err)
		}
		if err := w.Run(context.Background(), n, 120); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	diff, err := rewindtest.Compare(nodes[0], nodes[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diff { // catalogs hold transaction ids and OIDs
		if strings.Contains(d, " w.") {
			t.Error(d)
		}
	}
	if got := nodes[0].Must(t).Value("SELECT count(*) > 500 FROM w.rows"); got != "t" {
		t.Errorf("the workload left few rows behind")
	}
}

func TestDiffTrees(t *testing.T) {
	primary := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{Conf: map[string]string{"wal_log_hints": "off", "autovacuum": "off"}, NoChecksums: true})
	p := primary.Must(t)
	p.Exec("CREATE TABLE t (i int)", "INSERT INTO t SELECT generate_series(1, 1000)", "CHECKPOINT")
	file := p.Value("SELECT pg_relation_filepath('t')")
	p.Stop(rewindtest.Fast)
	before := rewindtest.Copy(t, primary.Dir)
	if diff := rewindtest.DiffTrees(t, primary.Dir, before, nil); len(diff) != 0 {
		t.Fatalf("a copy differs: %v", diff)
	}

	p.Start()
	p.Exec("SELECT count(*) FROM t") // sets hint bits
	p.Stop(rewindtest.Fast)
	others := func(path string) bool { return path == "pg_wal" || path == "global" || strings.HasPrefix(path, "pg_") }
	diff := rewindtest.DiffTrees(t, primary.Dir, before, others)
	if !slices.ContainsFunc(diff, func(d rewindtest.Difference) bool { return d.Path == file && d.Block == 0 }) {
		t.Errorf("hint bits not seen: %v", diff)
	}
	diff = rewindtest.DiffTrees(t, primary.Dir, before, others, rewindtest.MaskAll)
	if slices.ContainsFunc(diff, func(d rewindtest.Difference) bool { return d.Path == file }) {
		t.Errorf("hint bits not masked: %v", diff)
	}

	p.Start()
	p.Exec("UPDATE t SET i = -1 WHERE i = 1")
	p.Stop(rewindtest.Fast)
	diff = rewindtest.DiffTrees(t, primary.Dir, before, others, rewindtest.MaskAll)
	if !slices.ContainsFunc(diff, func(d rewindtest.Difference) bool { return d.Path == file }) {
		t.Errorf("an update is not seen through the masks: %v", diff)
	}

	if err := os.WriteFile(filepath.Join(before, "extra"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(before, "PG_VERSION"), 0o644); err != nil {
		t.Fatal(err)
	}
	diff = rewindtest.DiffTrees(t, primary.Dir, before, others)
	for _, want := range []string{"extra: only on the second side", "PG_VERSION: mode -rw------- and -rw-r--r--"} {
		if !slices.ContainsFunc(diff, func(d rewindtest.Difference) bool { return d.String() == want }) {
			t.Errorf("%q not among %v", want, diff)
		}
	}
}
