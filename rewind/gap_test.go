package rewind_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestGapInTheLastSegment: a page of the WAL is zeros, and there is more behind it
// in the last segment. If no page of data was written since, this is what a loss
// of power leaves, and the end; else flushed WAL was damaged.
func TestGapInTheLastSegment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, buffers string }{{"nothing depends on it", "32MB"}, {"damaged", "1MB"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := quietCluster()
			opts.WalSegSize = 0
			opts.Conf["shared_buffers"] = c.buffers // with few of them pages are written all the time
			var gap pg.LSN
			s := splitBrain{cluster: &opts, kill: true,
				common: func(n rewindtest.MustNode) {
					n.Exec("CREATE TABLE t AS SELECT i, repeat('x', 500) v FROM generate_series(1, 5000) i", "SELECT count(*) FROM t", "CHECKPOINT")
				},
				old: func(n rewindtest.MustNode) {
					n.Exec("SELECT pg_switch_wal()", "UPDATE t SET i = -i WHERE i < 1000")
					lsn, err := n.Node().EndOfWAL()
					if err != nil {
						t.Fatal(err)
					}
					gap = lsn&^8191 + 8192
					n.Exec("UPDATE t SET v = 'old' WHERE i > 2000")
				},
				leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i > 4000") },
			}
			old, leader := s.make(t)
			zeroWAL(t, old, gap, 16<<20)
			if c.name == "damaged" {
				refused(t, engineFor(t, old, leader), rewind.ErrDamaged)
				if !old.Install.Has("pg_rewind") {
					return
				}
				err := old.RejoinByPgRewind(leader)
				if err == nil { // nobody looks at the leader before: images of hints would repair this side
					t.Logf("stock pg_rewind leaves %s rows, want 4000", old.Must(t).Value("SELECT count(*) FROM t"))
				} else {
					t.Logf("stock pg_rewind: %v", err)
				}
				return
			}
			p := bringBack(t, old, leader).Plan
			if p.Target.EndOfWAL > gap || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "loss of power") {
				t.Errorf("WAL ends at %s with a gap at %s, warnings %q", p.Target.EndOfWAL, gap, p.Warnings)
			}
			prove(t, old, leader)
		})
	}
}

// zeroWAL blanks the page at lsn.
func zeroWAL(t *testing.T, n *rewindtest.Node, lsn pg.LSN, segSize uint32) {
	t.Helper()
	name := pg.SegmentName(1, pg.SegmentOf(lsn, segSize), segSize)
	f, err := os.OpenFile(filepath.Join(n.Dir, "pg_wal", name), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(make([]byte, 8192), int64(lsn%pg.LSN(segSize))&^8191)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
