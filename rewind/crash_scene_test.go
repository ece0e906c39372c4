package rewind_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// crashScene is the directory of an old primary that was killed, and three
// servers that might lead it: each forked off the one before, and both have
// written since. Nobody writes any more.
//
// The first stays up while a rewind that it began goes on from another: none of
// the later runs is told of it, and to them it is gone.
type crashScene struct {
	install rewindtest.Install
	old     *rewindtest.Node
	leaders []*rewindtest.Node // on timelines 2, 3 and 4
	// dir is where copies are made; origin is one, and before what is in it.
	dir, origin string
	before      tree
}

// crashRows is how much there is before the fork: the smaller the cluster, the
// more often it can be copied.
const crashRows = 100

// newCrashScene makes one in which a rewind does everything to files that it can
// do: copy them, lengthen, shorten and remove them, and change blocks, in PGDATA
// and in a tablespace elsewhere.
func newCrashScene(t *testing.T, install rewindtest.Install) *crashScene {
	t.Helper()
	s := &crashScene{install: install, dir: rewindtest.NewRoot(t)}
	s.old = rewindtest.NewPrimary(t, install, quietCluster())
	old := s.old.Must(t)
	if install.HasExtension("amcheck") {
		old.Exec("CREATE EXTENSION amcheck")
	}
	old.Exec("UPDATE pg_database SET datistemplate = false", "DROP DATABASE template0", "DROP DATABASE template1")
	load := rewindtest.NewWorkload(31)
	must(t, load.Setup(s.old, crashRows))
	space := filepath.Join(rewindtest.NewRoot(t), "space")
	must(t, os.Mkdir(space, 0o700))
	old.Exec("CREATE TABLESPACE elsewhere LOCATION '"+space+"'", "CREATE TABLE far TABLESPACE elsewhere AS SELECT generate_series(1, 2000) i",
		"CREATE TABLE far_gone(i int) TABLESPACE elsewhere", "CREATE TABLE nothing(i int)", "CREATE UNLOGGED TABLE flighty(i int)",
		"CREATE TABLE shorter AS SELECT generate_series(1, 9000) i", "CREATE TABLE longer AS SELECT generate_series(1, 500) i")
	first, second, third := s.old.Standby(t, "first"), s.old.Standby(t, "second"), s.old.Standby(t, "third")
	must(t, load.Run(context.Background(), s.old, 8))
	for _, n := range []*rewindtest.Node{first, second, third} {
		n.Must(t).WaitForCatchup(s.old)
	}
	second.Must(t).Stop(rewindtest.Fast)
	third.Must(t).Stop(rewindtest.Fast)
	s.fork(t, first)

	// The second has no more than a part of what the first goes on to write, and
	// so has the third of the second.
	listen(t, second, first)
	must(t, rewindtest.NewWorkload(33).Run(context.Background(), first, 15))
	first.Must(t).Exec("DROP TABLE nothing", "DROP TABLE longer", "CREATE TABLE onlyfirst AS SELECT generate_series(1, 5000) i")
	takeOver(t, second)
	listen(t, third, second)
	must(t, rewindtest.NewWorkload(34).Run(context.Background(), second, 15))
	takeOver(t, third)
	must(t, rewindtest.NewWorkload(35).Run(context.Background(), third, 8))
	s.leaders = []*rewindtest.Node{first, second, third}
	for _, n := range s.leaders {
		quieten(t, n)
	}
	s.origin = filepath.Join(s.dir, "origin")
	must(t, rewindtest.CopyDir(s.old.Dir, s.origin))
	s.before = readTree(t, s.origin)
	return s
}

// fork promotes the first while the old primary writes, which goes on until it
// is killed.
func (s *crashScene) fork(t *testing.T, first *rewindtest.Node) {
	t.Helper()
	load := rewindtest.NewWorkload(32).Start(s.old)
	must(t, load.Await(3))
	first.Must(t).Promote()
	first.Must(t).Checkpoint()
	s.old.Must(t).Exec("CREATE TABLE far_mine TABLESPACE elsewhere AS SELECT generate_series(1, 500) i", "UPDATE far SET i = i + 1 WHERE i < 300",
		"INSERT INTO shorter SELECT generate_series(1, 3000)", "UPDATE longer SET i = -i WHERE i < 100", "CHECKPOINT")
	must(t, load.Await(8))
	s.old.Must(t).Kill()
	must(t, load.Stop())
	must(t, rewindtest.NewWorkload(36).Run(context.Background(), first, 8))
	first.Must(t).Exec("CREATE TABLE far_yours TABLESPACE elsewhere AS SELECT generate_series(1, 700) i", "DROP TABLE far_gone",
		"DELETE FROM shorter WHERE i > 1000", "VACUUM shorter", "INSERT INTO longer SELECT generate_series(1, 9000)", "CHECKPOINT")
}

// listen lets a standby hear all that another server has written up to now.
func listen(t *testing.T, n, upstream *rewindtest.Node) {
	t.Helper()
	n.Must(t).Follow(upstream)
	n.Must(t).Start()
	n.Must(t).WaitForCatchup(upstream)
	n.Must(t).Stop(rewindtest.Immediate)
}

// takeOver starts a standby that hears of nobody, and promotes it.
func takeOver(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(n.Dir, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString("primary_conninfo = ''\n")
	must(t, err)
	must(t, f.Close())
	n.Must(t).Start()
	n.Must(t).Promote()
}

// quieten has a server write all that reading its tables will make it write, so
// that every rewind from it comes to the same result.
func quieten(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	n.Must(t).Exec("VACUUM", "CHECKPOINT")
	for range 2 {
		_, err := n.Contents()
		must(t, err)
		n.Must(t).Checkpoint()
	}
}

// follower is the name under which every rewound copy asks for WAL, so that
// their configurations are the same.
const follower = "follower"

// crashEngine makes one that works in a fixed order on a directory, and the function
// that closes its source.
func crashEngine(dir, conninfo string, dropIn bool) (*rewind.Engine, func(), error) {
	src, err := source.OpenSQL(context.Background(), source.SQLConfig{Conninfo: conninfo, Connections: 1, ForeignDirs: dropIn})
	if err != nil {
		return nil, nil, err
	}
	e := &rewind.Engine{PGData: dir, Source: src, Options: rewind.Options{
		Workers: 1, NoSync: true, Mirror: dropIn,
		Standby: &rewind.Standby{Conninfo: conninfo + " application_name=" + follower, ConninfoOnly: dropIn},
	}}
	return e, func() { _ = src.Close() }, nil
}

// crashRun is one run of an engine on a directory.
type crashRun struct {
	dir, conninfo string
	// dropIn: as the program does that is called pg_rewind.
	dropIn bool
	// before is asked before each change.
	before func(op, path string) error
	// keepUndo: the run can be taken back when it has ended.
	keepUndo bool
	// salvage: WAL that only this node has goes to a directory beside dir.
	salvage bool
}

// salvageOf is where.
func salvageOf(dir string) string { return dir + "-salvage" }

func (r crashRun) do() (*rewind.Plan, error) {
	e, closeSource, err := crashEngine(r.dir, r.conninfo, r.dropIn)
	if err != nil {
		return nil, err
	}
	defer closeSource()
	e.Options.KeepUndo = r.keepUndo
	if r.salvage {
		e.Options.Salvage.Dir = salvageOf(r.dir)
	}
	if r.before != nil {
		e.BeforeWrite(r.before)
	}
	p, err := e.Plan(context.Background())
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	_, err = e.Apply(context.Background(), p)
	return p, err
}

// crashSteps are the changes that a whole rewind of a directory makes, or one that
// goes on to the end; the directory is what came of them.
func (s *crashScene) crashSteps(t *testing.T, dir string, leader *rewindtest.Node, dropIn bool) []string {
	t.Helper()
	var steps []string
	_, err := crashRun{dir: dir, conninfo: leader.Conninfo(), dropIn: dropIn, salvage: !dropIn, before: func(op, path string) error {
		steps = append(steps, op+" "+path)
		return nil
	}}.do()
	if err != nil {
		t.Fatalf("rewind without interruption: %v", err)
	}
	return steps
}
