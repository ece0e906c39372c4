package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// refused plans, and wants one of the package's errors, a directory that is as
// it was, and a word of advice.
func refused(t *testing.T, e *rewind.Engine, want error) {
	t.Helper()
	before := snapshot(t, e.PGData)
	_, err := e.Plan(context.Background())
	if !errors.Is(err, want) {
		t.Errorf("plan: %v, want %v", err, want)
	}
	var hint interface{ Hint() string }
	if err != nil && (!errors.As(err, &hint) || hint.Hint() == "") && !errors.Is(err, rewind.ErrIncompatible) && !errors.Is(err, rewind.ErrNotDataDir) {
		t.Errorf("no advice with %v", err)
	}
	t.Log(err)
	sameSnapshot(t, "a refusal", snapshot(t, e.PGData), before)
}

// refusals is one diverged pair, of whose old primary each case spoils a copy.
type refusals struct {
	pair  rewindtest.Pair
	count int
}

func (r *refusals) spoil(t *testing.T, spoil func(n *rewindtest.Node)) *rewind.Engine {
	t.Helper()
	r.count++
	n := r.pair.Old.Clone(t, fmt.Sprintf("spoilt%d", r.count))
	spoil(n)
	return engineFor(t, n, r.pair.New)
}

func newRefusals(t *testing.T) *refusals {
	t.Helper()
	return &refusals{pair: rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 31, Rows: 100, Steps: 100, KillOld: true, CheckpointsAfterFork: 1, Cluster: quietCluster(),
	})}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestRefusesWAL: what the target's or the source's WAL lacks.
func TestRefusesWAL(t *testing.T) {
	t.Parallel()
	r := newRefusals(t)
	segment := func(n *rewindtest.Node, lsn pg.LSN) string {
		return filepath.Join(n.Dir, "pg_wal", pg.SegmentName(1, pg.SegmentOf(lsn, 1<<20), 1<<20))
	}
	fork, end := r.pair.Fork, r.pair.OldEnd
	if end < fork+2<<20 {
		t.Fatalf("the old primary wrote from %s to %s only", fork, end)
	}
	t.Run("the segment with the fork is gone", func(t *testing.T) {
		refused(t, r.spoil(t, func(n *rewindtest.Node) { remove(t, segment(n, fork)) }), rewind.ErrTargetWAL)
	})
	t.Run("a segment in the middle is gone", func(t *testing.T) {
		refused(t, r.spoil(t, func(n *rewindtest.Node) { remove(t, segment(n, (fork+end)/2)) }), rewind.ErrTargetWAL)
	})
	zero := func(lsn pg.LSN) func(n *rewindtest.Node) {
		return func(n *rewindtest.Node) {
			f, err := os.OpenFile(segment(n, lsn), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(make([]byte, 8192), int64(lsn%(1<<20))/8192*8192)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("a page behind the fork is zeros", func(t *testing.T) {
		refused(t, r.spoil(t, zero(fork+16384)), rewind.ErrDamaged)
	})
	t.Run("a page in the middle is zeros", func(t *testing.T) {
		refused(t, r.spoil(t, zero((fork+end)/2)), rewind.ErrDamaged)
	})
	t.Run("the first page of a segment is zeros", func(t *testing.T) {
		refused(t, r.spoil(t, zero((fork+1<<20)&^(1<<20-1))), rewind.ErrDamaged)
	})
	t.Run("a segment is cut short", func(t *testing.T) {
		refused(t, r.spoil(t, func(n *rewindtest.Node) {
			if err := os.Truncate(segment(n, (fork+end)/2), 8192*3); err != nil {
				t.Fatal(err)
			}
		}), rewind.ErrDamaged)
	})
	t.Run("the source has recycled it", func(t *testing.T) {
		e := r.spoil(t, func(*rewindtest.Node) {})
		leader := r.pair.New.Must(t)
		leader.SetConf("wal_keep_size", "0")
		leader.SetConf("min_wal_size", "2MB")
		for range 4 {
			leader.Exec("CREATE TABLE x AS SELECT generate_series(1, 20000) i; DROP TABLE x", "SELECT pg_switch_wal()", "CHECKPOINT")
		}
		refused(t, e, rewind.ErrSourceWAL)
	})
}

// TestRefuses: pairs that do not fit, and directories that cannot be worked on.
func TestRefuses(t *testing.T) {
	t.Parallel()
	r := newRefusals(t)
	t.Run("read-only file", func(t *testing.T) {
		refused(t, r.spoil(t, func(n *rewindtest.Node) {
			path := r.pair.New.Must(t).Value("SELECT pg_relation_filepath('w.rows')")
			chmod(t, filepath.Join(n.Dir, path), 0o400)
		}), rewind.ErrNotWritable)
	})
	t.Run("read-only directory", func(t *testing.T) {
		e := r.spoil(t, func(n *rewindtest.Node) {
			dir := filepath.Join(n.Dir, filepath.Dir(r.pair.New.Must(t).Value("SELECT pg_relation_filepath('w.rows')")))
			chmod(t, dir, 0o500)
			t.Cleanup(func() { chmod(t, dir, 0o700) }) // so that it can be removed
		})
		refused(t, e, rewind.ErrNotWritable)
	})
	t.Run("version file", func(t *testing.T) {
		refused(t, r.spoil(t, func(n *rewindtest.Node) {
			other := "14\n"
			if n.Install.Major == 14 {
				other = "15\n"
			}
			if err := os.WriteFile(filepath.Join(n.Dir, "PG_VERSION"), []byte(other), 0o600); err != nil {
				t.Fatal(err)
			}
		}), rewind.ErrNotDataDir)
	})
	t.Run("running target", func(t *testing.T) {
		e := r.spoil(t, func(n *rewindtest.Node) { n.Must(t).Start() })
		if _, err := e.Plan(context.Background()); !errors.Is(err, rewind.ErrTargetRunning) {
			t.Errorf("plan: %v", err)
		}
		// A plan that was made before the server started is refused as well.
		e.Options.AllowRunning = true
		p, err := e.Plan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Apply(context.Background(), p); !errors.Is(err, rewind.ErrTargetRunning) {
			t.Errorf("apply: %v", err)
		}
		noOwnFiles(t, e.PGData)
	})
	t.Run("started between plan and apply", func(t *testing.T) {
		var n *rewindtest.Node
		e := r.spoil(t, func(spoilt *rewindtest.Node) { n = spoilt })
		p, err := e.Plan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		n.Must(t).Start()
		n.Must(t).Stop(rewindtest.Fast)
		before := snapshot(t, n.Dir)
		if _, err := e.Apply(context.Background(), p); !errors.Is(err, rewind.ErrNotDataDir) {
			t.Errorf("apply: %v", err)
		}
		sameSnapshot(t, "a refusal", snapshot(t, n.Dir), before)
	})
	t.Run("full_page_writes off at the source", func(t *testing.T) {
		e := r.spoil(t, func(*rewindtest.Node) {})
		leader := r.pair.New.Must(t)
		leader.SetConf("full_page_writes", "off")
		waitFor(t, r.pair.New, "SELECT current_setting('full_page_writes') = 'off'")
		refused(t, e, rewind.ErrNoStrategy)
		leader.SetConf("full_page_writes", "on")
		waitFor(t, r.pair.New, "SELECT current_setting('full_page_writes') = 'on'")
	})
	t.Run("another cluster", func(t *testing.T) {
		stranger := newPrimary(t)
		stranger.Must(t).Stop(rewindtest.Fast)
		refused(t, engineFor(t, stranger, r.pair.New), rewind.ErrSystemID)
	})
}

// TestRefusesWithoutHints: neither checksums nor wal_log_hints, at the end or on the way.
func TestRefusesWithoutHints(t *testing.T) {
	t.Parallel()
	opts := quietCluster()
	opts.NoChecksums = true
	opts.Conf["wal_log_hints"] = "off"
	pair := rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 32, Rows: 100, Cluster: opts})
	refused(t, engineFor(t, pair.Old, pair.New), rewind.ErrHints)
}

// TestRefusesOccupiedTablespace: on one host the source's tablespace is where
// the target's would have to be.
func TestRefusesOccupiedTablespace(t *testing.T) {
	t.Parallel()
	dir := rewindtest.NewRoot(t)
	old, leader := splitBrain{
		common: nothing, old: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE x(i int)") },
		leader: func(n rewindtest.MustNode) { n.Exec("CREATE TABLESPACE mine LOCATION '" + dir + "'") },
	}.make(t)
	refused(t, engineFor(t, old, leader), rewind.ErrIncompatible)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the source's tablespace holds %v, %v", entries, err)
	}
}

// TestRefusesSplitBrainOnOneTimeline: both are primaries of the same timeline,
// since the other one was started from a copy without a promotion.
func TestRefusesSplitBrainOnOneTimeline(t *testing.T) {
	t.Parallel()
	a := newPrimary(t)
	a.Must(t).Exec("CREATE TABLE t(v text)", "INSERT INTO t VALUES ('common')")
	a.Must(t).Stop(rewindtest.Fast)
	b := a.Clone(t, "b")
	for _, n := range []*rewindtest.Node{a, b} {
		n.Must(t).Start()
	}
	t.Run("the target wrote less", func(t *testing.T) {
		a.Must(t).Exec("INSERT INTO t VALUES ('from a')")
		b.Must(t).Exec("INSERT INTO t VALUES ('from b')", "CREATE TABLE more AS SELECT generate_series(1, 1000) i", "CHECKPOINT")
		a.Must(t).Kill()
		refused(t, engineFor(t, a, b), rewind.ErrNoStrategy)
	})
	t.Run("the target wrote more", func(t *testing.T) {
		a.Must(t).Start()
		a.Must(t).Exec("CREATE TABLE more AS SELECT generate_series(1, 100000) i")
		a.Must(t).Stop(rewindtest.Fast)
		refused(t, engineFor(t, a, b), rewind.ErrNoStrategy)
	})
}

// TestRefusesTwins: both wrote the same kinds of records of the same sizes, so
// that the last one, a switch of segments, is the same on both.
func TestRefusesTwins(t *testing.T) {
	t.Parallel()
	a := newPrimary(t)
	a.Must(t).Exec("CREATE TABLE beat(n int, v text)", "INSERT INTO beat VALUES (0, '')")
	a.Must(t).Stop(rewindtest.Fast)
	b := a.Clone(t, "b")
	for _, n := range []*rewindtest.Node{a, b} {
		n.Must(t).Start()
		n.Must(t).Exec("CHECKPOINT")
	}
	for i, n := range []*rewindtest.Node{a, b} {
		n.Must(t).Exec(fmt.Sprintf("INSERT INTO beat VALUES (1, 'node %d')", i), "SELECT pg_switch_wal()")
	}
	if x, y := a.Must(t).Value("SELECT pg_current_wal_insert_lsn()"), b.Must(t).Value("SELECT pg_current_wal_insert_lsn()"); x != y {
		t.Skipf("the two have drifted apart: %s and %s", x, y)
	}
	b.Must(t).Exec("INSERT INTO beat SELECT i, 'more' FROM generate_series(2, 1000) i")
	a.Must(t).Kill()
	stockSays(t, a, b)
	refused(t, engineFor(t, a, b), rewind.ErrNoStrategy)
}

// TestRefusesJournal: a journal that is not this directory's, or not readable.
func TestRefusesJournal(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	half := s.copy(t, "half")
	s.kill(t, half, s.latch+30)
	journalFile := filepath.Join(rewind.JournalDir, "journal")
	content, err := os.ReadFile(filepath.Join(half.Dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	put := func(t *testing.T, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(half.Dir, journalFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name string
		make func() []byte
	}{
		{"damaged", func() []byte { b := []byte(string(content)); b[200] ^= 0x40; return b }},
		{"header damaged", func() []byte { b := []byte(string(content)); b[9] ^= 1; return b }},
		{"cut off before the plan", func() []byte { return content[:40] }},
		{"empty", func() []byte { return nil }},
		{"another cluster's", func() []byte {
			return journalOf(t, `{"format":1,"system_id":"7000000000000000000"}`, 3)
		}},
		{"a newer plan", func() []byte { return journalOf(t, `{"format":2}`, 3) }},
		{"a record of a newer program", func() []byte { return journalOf(t, `{"format":1}`, 77) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			put(t, c.make())
			refused(t, s.engine(t, half), rewind.ErrJournal)
			if _, _, err := rewind.ReadInterrupted(half.Dir); !errors.Is(err, rewind.ErrJournal) {
				t.Errorf("ReadInterrupted: %v", err)
			}
		})
	}
	put(t, content)
	s.resume(t, half, s.leader)
}
