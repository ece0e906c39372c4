package rewind_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

// powered is a diverged pair whose old primary lies on a disk of its own.
type powered struct {
	*interrupted
	m *powercut.Machine
	// node is the old primary where that is mounted.
	node *rewindtest.Node
	// disk and other are its two file systems; the data directory is on the first.
	disk, other string
	// base is the disk before anything was done, was the data directory on it,
	// control its control file.
	base    powercut.Image
	was     map[string]string
	control []byte
	// branch is the WAL that only this node has, by name.
	branch map[string]string
}

// onEachDisk runs a test on the file systems that were asked for.
func onEachDisk(t *testing.T, test func(t *testing.T, p *powered)) {
	t.Helper()
	t.Parallel()
	for fs := range strings.SplitSeq(*cutOn, ",") {
		t.Run(fs+" twice", func(t *testing.T) { test(t, newPowered(t, powercut.FileSystem(fs), true)) })
		if *everyCut > 0 {
			t.Run(fs, func(t *testing.T) { test(t, newPowered(t, powercut.FileSystem(fs), false)) })
		}
	}
}

// newPowered makes one whose WAL and a tablespace lie on a file system of their own, or not.
func newPowered(t *testing.T, fs powercut.FileSystem, apart bool) *powered {
	t.Helper()
	m := powercut.Open(t, fs)
	s := &interrupted{}
	s.old, s.leader = changedOnBothSides(t)
	s.whole = s.copy(t, "whole")
	run(t, s.engine(t, s.whole))
	p := &powered{interrupted: s, m: m, node: s.copy(t, "powered")}
	p.base = m.Format(512)
	at := m.Mount(p.base)
	p.disk, p.other = filepath.Join(at, "1"), filepath.Join(at, "2")
	own, data := p.node.Dir, filepath.Join(p.disk, "data")
	must(t, rewindtest.CopyDir(own, data))
	if apart {
		spaces, err := os.ReadDir(filepath.Join(data, "pg_tblspc"))
		must(t, err)
		for _, link := range []string{"pg_wal", "pg_tblspc/" + spaces[0].Name()} {
			putElsewhere(t, filepath.Join(data, link), filepath.Join(p.other, filepath.Base(link)))
		}
	}
	must(t, os.Mkdir(filepath.Join(p.disk, "log"), 0o700))
	p.node.Dir = data
	t.Cleanup(func() { p.node.Dir = own })
	p.was = imprintOf(t, data)
	var err error
	p.control, err = os.ReadFile(filepath.Join(data, "global/pg_control"))
	must(t, err)
	m.Unmount()
	return p
}

// putElsewhere moves a directory, or what a link leads to, and makes a link to it.
func putElsewhere(t *testing.T, link, to string) {
	t.Helper()
	from, err := filepath.EvalSymlinks(link)
	must(t, err)
	must(t, rewindtest.CopyDir(from, to))
	must(t, os.RemoveAll(from))
	if from != link {
		must(t, os.Remove(link))
	}
	must(t, os.Symlink(to, link))
}

// changedOnBothSides makes a pair in which each kind of change is there to be
// made: files that come, go, grow and shrink, in a tablespace as well.
func changedOnBothSides(t *testing.T) (old, leader *rewindtest.Node) {
	t.Helper()
	space, going := rewindtest.NewRoot(t), rewindtest.NewRoot(t)
	load := func(n rewindtest.MustNode, w *rewindtest.Workload, steps int) {
		must(t, w.Run(context.Background(), n.Node(), steps))
	}
	common := rewindtest.NewWorkload(31)
	return splitBrain{
		common: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLESPACE there LOCATION '"+space+"'", "CREATE TABLESPACE going LOCATION '"+going+"'",
				"CREATE TABLE kept TABLESPACE there AS SELECT generate_series(1, 20000) i",
				"CREATE TABLE gone TABLESPACE going AS SELECT generate_series(1, 1000) i",
				"CREATE TABLE dropped AS SELECT generate_series(1, 1000) i",
				"CREATE TABLE shrunk TABLESPACE there AS SELECT generate_series(1, 20000) i",
				"CREATE TABLE grown AS SELECT generate_series(1, 1000) i")
			must(t, common.Setup(n.Node(), 200))
			load(n, common, 10)
		},
		old: func(n rewindtest.MustNode) {
			n.Exec("CREATE TABLE mine TABLESPACE there AS SELECT generate_series(1, 1000) i", "UPDATE kept SET i = -i WHERE i % 1000 = 0",
				"INSERT INTO grown SELECT generate_series(1, 30000)", "UPDATE gone SET i = -i", "UPDATE dropped SET i = -i")
			load(n, rewindtest.NewWorkload(32), 30)
			n.Exec("CHECKPOINT")
			load(n, rewindtest.NewWorkload(33), 10)
		},
		leader: func(n rewindtest.MustNode) {
			n.Exec("DELETE FROM shrunk WHERE i > 1000", "VACUUM shrunk", "DROP TABLE gone", "DROP TABLESPACE going", "DROP TABLE dropped",
				"CREATE TABLE later TABLESPACE there AS SELECT generate_series(1, 10000) i")
			load(n, rewindtest.NewWorkload(34), 30)
			n.Exec("CHECKPOINT")
		},
		kill: true,
	}.make(t)
}

// engine makes one that keeps the WAL of the branch.
func (p *powered) engine(t *testing.T) *rewind.Engine {
	t.Helper()
	e := p.interrupted.engine(t, p.node)
	e.Options.Salvage.Dir = filepath.Join(p.disk, "salvage")
	return e
}

// durable makes the engine whose power is cut.
func (p *powered) durable(t *testing.T) *rewind.Engine {
	t.Helper()
	e := p.engine(t)
	e.Options.NoSync = false
	return e
}

// in gives the pair to a subtest.
func (p *powered) in(t *testing.T) *powered {
	q := *p
	q.m = p.m.For(t)
	return &q
}

// imprintOf describes a data directory, times of files included.
func imprintOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := snapshot(t, dir)
	for name, what := range out {
		if !strings.HasPrefix(what, "-") {
			continue
		}
		st, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		out[name] = what + " " + st.ModTime().String()
	}
	return out
}

// complete fails where a directory is not a finished one; the engine's own files
// may still be there.
func (p *powered) complete(t *testing.T) {
	t.Helper()
	ignore := func(name string) bool {
		switch name {
		case "postgresql.conf", "postgresql.auto.conf", "global/pg_control", "backup_label", "pg_wal", rewind.JournalDir:
			return true
		}
		return filepath.Base(name) == "failback_hook.undo"
	}
	for _, d := range rewindtest.DiffTrees(t, p.node.Dir, p.whole.Dir, ignore, rewindtest.MaskAll) {
		t.Errorf("not as without interruption: %s", d)
	}
}

// digest tells trees apart.
func digest(tree map[string]string) [sha256.Size]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		fmt.Fprintf(h, "%q %q\n", name, tree[name])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// notOwn drops the engine's own files from a tree.
func notOwn(tree map[string]string) map[string]string {
	out := maps.Clone(tree)
	maps.DeleteFunc(out, func(name, _ string) bool {
		return strings.HasPrefix(name+"/", rewind.JournalDir+"/") || strings.HasPrefix(name+"/", "pg_wal/failback_hook/") ||
			strings.HasPrefix(name, "pg_tblspc/") && strings.Contains(name+"/", "/failback_hook.undo/")
	})
	return out
}

// salvaged are the files of all branches below the salvage directory, by name.
func (p *powered) salvaged(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	found, err := filepath.Glob(filepath.Join(p.disk, "salvage/*/*/*"))
	must(t, err)
	for _, name := range found {
		if base := filepath.Base(name); base != rewind.SalvageManifestName && base != rewind.SalvageReportName {
			b, err := os.ReadFile(name)
			must(t, err)
			out[base] = fmt.Sprintf("%d %x", len(b), sha256.Sum256(b))
		}
	}
	return out
}
