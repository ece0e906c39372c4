package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// relink makes a link of a node's lead elsewhere.
func relink(t *testing.T, n *rewindtest.Node, link, to string) {
	t.Helper()
	link = filepath.Join(n.Dir, link)
	must(t, os.RemoveAll(link))
	must(t, os.Symlink(to, link))
}

// TestRefusesSharedPlaces: a link of the target's leads to where the source, or
// another cluster, has its own files, or nowhere.
func TestRefusesSharedPlaces(t *testing.T) {
	t.Parallel()
	old := newPrimary(t)
	leader := old.Standby(t, "leader")
	space := rewindtest.NewRoot(t)
	// On one machine the standby that replays this makes a link to the same directory.
	old.Must(t).Exec("CREATE TABLESPACE shared LOCATION '"+space+"'", "CREATE TABLE t(i int) TABLESPACE shared")
	oid := old.Must(t).Value("SELECT oid FROM pg_tablespace WHERE spcname = 'shared'")
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	old.Must(t).Exec("CREATE TABLE x AS SELECT generate_series(1, 1000) i")
	old.Must(t).Kill()
	leader.Must(t).Exec("CHECKPOINT", "CREATE TABLE y(i int)")
	link := "pg_tblspc/" + oid

	try := func(name string, want error, spoil func(n *rewindtest.Node)) {
		t.Run(name, func(t *testing.T) {
			n := old.Clone(t, fmt.Sprint("clone", len(name)))
			if spoil != nil {
				spoil(n)
			}
			to, err := os.Readlink(filepath.Join(n.Dir, link))
			must(t, err)
			before := snapshot(t, to+"/")
			refused(t, engineFor(t, n, leader), want)
			sameSnapshot(t, "a refusal: where the link leads", snapshot(t, to+"/"), before)
		})
	}
	try("the source's tablespace", rewind.ErrIncompatible, func(n *rewindtest.Node) { relink(t, n, link, space) })
	try("the source's PGDATA", rewind.ErrIncompatible, func(n *rewindtest.Node) { relink(t, n, link, filepath.Join(leader.Dir, "pg_stat")) })
	try("another node's PGDATA", rewind.ErrIncompatible, func(n *rewindtest.Node) { relink(t, n, link, filepath.Join(old.Dir, "base")) })
	try("its own base", rewind.ErrIncompatible, func(n *rewindtest.Node) { relink(t, n, link, filepath.Join(n.Dir, "base", "1")) })
	t.Run("nowhere", func(t *testing.T) {
		n := old.Clone(t, "dangling")
		relink(t, n, link, filepath.Join(space, "not there"))
		refused(t, engineFor(t, n, leader), rewind.ErrNotDataDir)
	})
	t.Run("other links", func(t *testing.T) { // a snapshot would go round in a circle, or find a server at work
		n := old.Clone(t, "wal")
		for _, c := range [][2]string{{link, n.Dir}, {"pg_wal", filepath.Join(leader.Dir, "pg_wal")}} {
			what, to := c[0], c[1]
			before, err := os.Readlink(filepath.Join(n.Dir, what))
			relink(t, n, what, to)
			if _, err := engineFor(t, n, leader).Plan(context.Background()); !errors.Is(err, rewind.ErrIncompatible) {
				t.Errorf("%s leads to %s: %v, want ErrIncompatible", what, to, err)
			}
			if err == nil {
				relink(t, n, what, before)
			}
		}
	})
	t.Run("a stopped source's", func(t *testing.T) {
		leader.Must(t).Stop(rewindtest.Fast)
		t.Cleanup(func() { leader.Must(t).Start() })
		src, err := source.OpenDir(leader.Dir)
		must(t, err)
		t.Cleanup(func() { must(t, src.Close()) })
		n := old.Clone(t, "dir")
		relink(t, n, link, space)
		refused(t, &rewind.Engine{PGData: n.Dir, Source: src}, rewind.ErrIncompatible)
	})
	// With a directory of its own, which CopyDir gives every copy, it goes well.
	n := old.Clone(t, "copy")
	bringBack(t, n, leader)
	n.Must(t).Start()
	n.Must(t).WaitForCatchup(leader)
	rewindtest.CompareTables(t, leader, n)
}

// TestRefusesSourceWithoutTablespace: the file system of a tablespace is not
// mounted at the source. What the target has of it may be the last copy.
func TestRefusesSourceWithoutTablespace(t *testing.T) {
	t.Parallel()
	space := rewindtest.NewRoot(t)
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLESPACE away LOCATION '"+space+"'", "CREATE TABLE t TABLESPACE away AS SELECT generate_series(1, 1000) i", "CHECKPOINT")
		},
		old: func(n rewindtest.MustNode) { n.Exec("INSERT INTO t VALUES (0)") }, leader: nothing,
	}.make(t)
	of := tablespaceDir(t, leader)
	must(t, os.Rename(of, of+".unmounted"))
	refused(t, engineFor(t, old, leader), rewind.ErrSourceNotReady)
	must(t, os.Mkdir(of, 0o700)) // the empty directory below a mount
	refused(t, engineFor(t, old, leader), rewind.ErrSourceNotReady)
	must(t, os.Remove(of))
	must(t, os.Rename(of+".unmounted", of))
	bringBack(t, old, leader)
	prove(t, old, leader)
}

// TestTablespaceAtTheSamePath: the source has made a tablespace, and the target
// has nothing at that path yet, as on two machines. The path leads through
// /proc/self/cwd, which to each server is its own PGDATA, and to this process the
// target's: that is why this test cannot run beside others.
func TestTablespaceAtTheSamePath(t *testing.T) {
	const path = "/proc/self/cwd/elsewhere/spaces/made"
	outside := map[*rewindtest.Node]string{}
	old, leader := splitBrain{
		common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i") },
		old:    func(n rewindtest.MustNode) { n.Exec("INSERT INTO t VALUES (0)") }, leader: nothing, kill: true,
	}.make(t)
	for _, n := range []*rewindtest.Node{old, leader} {
		outside[n] = rewindtest.NewRoot(t)
		must(t, os.Symlink(outside[n], filepath.Join(n.Dir, "elsewhere")))
	}
	must(t, os.MkdirAll(filepath.Join(outside[leader], "spaces/made"), 0o700))
	leader.Must(t).Exec("CREATE TABLESPACE made LOCATION '"+path+"'", "CREATE DATABASE inside TABLESPACE made",
		"CREATE TABLE spaced TABLESPACE made AS SELECT generate_series(1, 5000) i", "CHECKPOINT")
	t.Chdir(old.Dir)

	t.Run("unwritable", func(t *testing.T) {
		chmod(t, outside[old], 0o500)
		refused(t, engineFor(t, old, leader), rewind.ErrNotWritable)
		chmod(t, outside[old], 0o700)
	})
	t.Run("a file in its place", func(t *testing.T) {
		must(t, os.WriteFile(filepath.Join(outside[old], "spaces"), nil, 0o600))
		refused(t, engineFor(t, old, leader), rewind.ErrIncompatible)
		must(t, os.Remove(filepath.Join(outside[old], "spaces")))
	})
	t.Run("in use", func(t *testing.T) {
		must(t, os.MkdirAll(filepath.Join(outside[old], "spaces/made", pg.TablespaceDir(pg.Major(old.Install.Major))), 0o700))
		refused(t, engineFor(t, old, leader), rewind.ErrIncompatible)
		must(t, os.RemoveAll(filepath.Join(outside[old], "spaces")))
	})
	t.Run("in its own base", func(t *testing.T) {
		relink(t, old, "elsewhere", filepath.Join(old.Dir, "base"))
		refused(t, engineFor(t, old, leader), rewind.ErrIncompatible)
		relink(t, old, "elsewhere", outside[old])
	})
	p := bringBack(t, old, leader).Plan
	if got := p.Totals.Files[rewind.ActionSymlink]; got != 1 {
		t.Errorf("%d links are made, want 1", got)
	}
	if fi, err := os.Stat(filepath.Join(outside[old], "spaces/made")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the new directory: %v, %v", fi, err)
	}
	prove(t, old, leader)
}

// TestWALOnAnotherFileSystem: pg_wal is a link to another file system, from
// where nothing can be renamed to PGDATA; at its root is what a file system
// keeps there, and somebody's copies of WAL beside.
func TestWALOnAnotherFileSystem(t *testing.T) {
	t.Parallel()
	to := filepath.Join(rewindtest.OtherFileSystem(t), "wal")
	pair := rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 43, Rows: 100, Steps: 15, KillOld: true, Cluster: quietCluster()})
	wal := filepath.Join(pair.Old.Dir, "pg_wal")
	if out, err := exec.Command("cp", "-a", wal, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	relink(t, pair.Old, "pg_wal", to)
	must(t, os.Mkdir(filepath.Join(to, "lost+found"), 0o000))
	must(t, os.Mkdir(filepath.Join(to, "copies"), 0o700))
	own := pg.SegmentName(1, pg.SegmentOf(pair.OldEnd, 1<<20), 1<<20)
	for _, name := range []string{own, "00000009.history"} { // would be set aside, and removed, if it were the server's
		must(t, os.WriteFile(filepath.Join(to, "copies", name), []byte("mine"), 0o600))
	}
	before := snapshot(t, filepath.Join(to, "copies"))
	bringBack(t, pair.Old, pair.New)
	noOwnFiles(t, pair.Old.Dir)
	sameSnapshot(t, "copies in pg_wal", snapshot(t, filepath.Join(to, "copies")), before)
	prove(t, pair.Old, pair.New)
}
