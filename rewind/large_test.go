package rewind_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// large asks for the layouts that take gigabytes and minutes: make test-layouts.
var large = flag.Bool("layouts", false, "test large layouts too: WAL segments of 1 GB, relations over 1 GB, 100,000 tables (25 GB of disk)")

// TestWALSegmentSizes: the fork lies in another segment than the checkpoint
// before it, both sides go on for some segments, and a run is interrupted when
// segments lie aside and staged.
func TestWALSegmentSizes(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 64}
	if *large {
		sizes = append(sizes, 1024)
	}
	for _, mb := range sizes {
		t.Run(fmt.Sprintf("%d MB", mb), func(t *testing.T) {
			t.Parallel()
			opts := quietCluster()
			opts.WalSegSize = mb
			for name, value := range map[string]string{
				"wal_init_zero": "off", "wal_recycle": "off", "min_wal_size": fmt.Sprintf("%dMB", max(2*mb, 80)), "wal_keep_size": fmt.Sprintf("%dMB", 6*mb),
			} {
				opts.Conf[name] = value
			}
			old := newPrimaryWith(t, opts)
			write := func(n *rewindtest.Node, switches int) {
				for range switches {
					n.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 1000)", "SELECT pg_switch_wal()", "INSERT INTO t SELECT generate_series(1, 10)")
				}
			}
			old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
			leader := old.Standby(t, "leader")
			old.Must(t).Checkpoint()
			write(old, 1)
			leader.Must(t).WaitForCatchup(old)
			leader.Must(t).Promote()
			write(old, 2)
			old.Must(t).Kill()
			leader.Must(t).Checkpoint()
			write(leader, 1)
			size := int64(mb) << 20

			e := engineFor(t, old, leader)
			killed := errors.New("killed by the test")
			e.BeforeWrite(func(op, path string) error {
				if op == "publish" && path == "backup_label" {
					return killed
				}
				return nil
			})
			p, err := e.Plan(context.Background())
			must(t, err)
			if got := int64(p.WALSegSize); got != size {
				t.Errorf("segments of %d bytes, want %d", got, size)
			}
			if redo, fork := int64(p.Replay.Redo)/size, int64(p.Fork.LSN)/size; redo == fork {
				t.Errorf("replay begins in the segment of the fork, %d", fork)
			}
			if _, err := e.Apply(context.Background(), p); !errors.Is(err, killed) {
				t.Fatalf("apply: %v", err)
			}
			if aside, err := filepath.Glob(filepath.Join(old.Dir, "pg_wal/failback_hook/aside/0*")); err != nil || len(aside) < 3 {
				t.Errorf("aside are %q, %v", aside, err)
			}
			bringBack(t, old, leader)
			noOwnFiles(t, old.Dir)
			prove(t, old, leader)
		})
	}
}

// TestManySegments: relations of more than one file of 1 GB, that become longer
// and shorter than that on either side, with changes behind block 131072.
func TestManySegments(t *testing.T) {
	if !*large {
		t.Skip("it takes 25 GB: make test-layouts")
	}
	const blocks = 131072 // of a file; each row fills a block
	opts := quietCluster()
	opts.WalSegSize = 64
	for name, value := range map[string]string{"wal_keep_size": "8GB", "min_wal_size": "256MB", "max_wal_size": "32GB", "shared_buffers": "128MB"} {
		opts.Conf[name] = value
	}
	old := newPrimaryWith(t, opts)
	fill := func(n *rewindtest.Node, table string, from, to int) {
		for ; from <= to; from += 20000 {
			n.Must(t).Exec(fmt.Sprintf("INSERT INTO %s SELECT i, repeat('x', 8000) FROM generate_series(%d, %d) i", table, from, min(to, from+19999)))
		}
	}
	for table, rows := range map[string]int{"shrinks_here": blocks + 5000, "shrinks_there": blocks + 5000, "grows_here": blocks - 100, "grows_there": blocks - 100} {
		old.Must(t).Exec("CREATE TABLE " + table + " (i int, filler text) WITH (autovacuum_enabled = off)")
		old.Must(t).Exec("ALTER TABLE " + table + " ALTER filler SET STORAGE plain")
		fill(old, table, 1, rows)
		old.Must(t).Exec("VACUUM (FREEZE) " + table) // no hints to be set behind the fork
	}
	old.Must(t).Checkpoint()
	leader := old.Standby(t, "leader")
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	leader.Must(t).Checkpoint()

	touch := func(n *rewindtest.Node, table string) { // in place, in both files
		n.Must(t).Exec("DELETE FROM " + table + " WHERE i IN (7, 131071, 131072, 131073, 131074, 135000)")
	}
	cut := func(n *rewindtest.Node, table string) {
		n.Must(t).Exec("DELETE FROM "+table+" WHERE i > 100000", "VACUUM "+table)
	}
	cut(old, "shrinks_here")
	touch(old, "shrinks_there")
	fill(old, "shrinks_there", blocks+5001, blocks+6000)
	fill(old, "grows_here", blocks-99, blocks+900)
	touch(old, "grows_there")
	old.Must(t).Checkpoint()
	old.Must(t).Kill()
	touch(leader, "shrinks_here")
	cut(leader, "shrinks_there")
	touch(leader, "grows_here")
	fill(leader, "grows_there", blocks-99, blocks+900)
	leader.Must(t).Checkpoint()

	second := func(n *rewindtest.Node, table string) int64 {
		fi, err := os.Stat(filepath.Join(n.Dir, leader.Must(t).Value("SELECT pg_relation_filepath('"+table+"')")+".1"))
		if errors.Is(err, os.ErrNotExist) {
			return -1
		}
		must(t, err)
		return fi.Size() / 8192
	}
	for _, table := range []string{"shrinks_here", "shrinks_there", "grows_here", "grows_there"} {
		t.Logf("%s: %d blocks in the second file here, %d at the source", table, second(old, table), second(leader, table))
	}
	if second(old, "shrinks_here") > 0 || second(leader, "shrinks_there") > 0 || second(old, "grows_here") < 900 || second(leader, "grows_there") < 900 {
		t.Fatal("the files are not as they were to be")
	}
	r := bringBack(t, old, leader)
	t.Logf("%d bytes fetched, in %v", r.FetchedBytes, r.Durations)
	startSlowly(t, old)
	old.Must(t).WaitForCatchup(leader)
	// Table by table: a query over all of them takes more than CompareTables waits.
	for _, table := range []string{"shrinks_here", "shrinks_there", "grows_here", "grows_there"} {
		query := "SELECT pg_relation_size('" + table + "') || ' bytes, ' || count(*) || ' rows, hash ' || sum(hashtextextended(x::text, 0)) FROM " + table + " x"
		if a, b := old.Must(t).Value(query), leader.Must(t).Value(query); a != b {
			t.Errorf("%s: %s, want %s", table, a, b)
		}
	}
	rewindtest.AmCheck(t, old)
	stopAll(t, true, leader, old)
}

// TestManyTables: of the tables that the leader has made behind the fork half are
// dropped between plan and apply, and more while files are fetched.
func TestManyTables(t *testing.T) {
	t.Parallel()
	tables := 3000
	if *large {
		tables = 100_000
	}
	each := func(n *rewindtest.Node, from, to int, statement string) {
		var wg sync.WaitGroup
		const sessions, batch = 4, 250
		for s := range sessions {
			wg.Go(func() {
				var all []string
				for at := from + s*batch; at < to; at += sessions * batch {
					all = append(all, fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('%s', i); END LOOP; END $$", at, min(at+batch, to)-1, statement))
				}
				if err := n.Exec(all...); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	opts := quietCluster()
	opts.WalSegSize = 16
	opts.Conf["max_locks_per_transaction"] = "1000"
	old := newPrimaryWith(t, opts)
	each(old, 0, tables/2, "CREATE TABLE common%s AS SELECT 1 i")
	leader := old.Standby(t, "leader")
	leader.Must(t).WaitForCatchup(old)
	leader.Must(t).Promote()
	each(old, 0, tables/10, "INSERT INTO common%s VALUES (2)")
	each(leader, 0, tables/2, "CREATE TABLE made%s AS SELECT 3 i")
	leader.Must(t).Exec("CHECKPOINT")
	old.Must(t).Kill()

	if *large {
		logStock(t, old.Clone(t, "stock"), leader)
	}
	e := engineFor(t, old, leader)
	peak := watchMemory(t)
	start := time.Now()
	p, err := e.Plan(context.Background())
	must(t, err)
	t.Logf("plan of %d files here and %d at the source: %v", p.Target.Files, p.Source.Files, time.Since(start))
	each(leader, 0, tables/4, "DROP TABLE made%s")
	leader.Must(t).Exec("CHECKPOINT") // only now the files go
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		each(leader, tables/4, tables/3, "DROP TABLE made%s")
		each(leader, 0, tables/4, "DROP TABLE common%s")
		if err := leader.Exec("CHECKPOINT"); err != nil {
			t.Error(err)
		}
	}()
	start = time.Now()
	r, err := e.Apply(context.Background(), p)
	must(t, err)
	t.Logf("apply: %v, %d bytes", time.Since(start), r.FetchedBytes)
	<-dropped
	if got, limit := peak(), uint64(100<<20+tables*3000); got > limit {
		t.Errorf("%d MB of memory, want at most %d", got>>20, limit>>20)
	} else {
		t.Logf("%d MB of memory at most", got>>20)
	}
	if *large { // pg_amcheck would look at each table by itself
		startSlowly(t, old)
		old.Must(t).WaitForCatchup(leader)
		rewindtest.CompareTables(t, leader, old)
		return
	}
	prove(t, old, leader)
}

// startSlowly starts a server that has more to replay than Start waits for.
func startSlowly(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	err := n.Start()
	for deadline := time.Now().Add(10 * time.Minute); err != nil && n.Running(); time.Sleep(time.Second) {
		if _, err = n.Value("SELECT 1"); err != nil && time.Now().After(deadline) {
			break
		}
	}
	must(t, err)
}

// logStock says what time and memory pg_rewind takes for the same.
func logStock(t *testing.T, n, leader *rewindtest.Node) {
	t.Helper()
	if !n.Install.Has("pg_rewind") {
		return
	}
	start := time.Now()
	cmd := exec.Command(n.Install.Path("pg_rewind"), "--target-pgdata", n.Dir, "--source-server", leader.Conninfo())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("pg_rewind: %v: %s", err, out)
		return
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.Logf("pg_rewind: %v, %d MB of memory", time.Since(start), usage.Maxrss>>10)
	}
}

// watchMemory samples the heap of this process, in which other tests may be at work.
func watchMemory(t *testing.T) (peak func() uint64) {
	t.Helper()
	runtime.GC() // what other tests have left, which read whole files to compare them
	done, result := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-done:
				result <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return sync.OnceValue(func() uint64 { close(done); return <-result })
}
