package rewind_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

const (
	walPage    = 8192
	walSegment = 1 << 20 // of quietCluster
)

// message writes a record of that many bytes of WAL.
func message(t *testing.T, n *rewindtest.Node, bytes pg.LSN, transactional bool) {
	t.Helper()
	// Record header, header of the data, xl_logical_message and the prefix.
	length := int(bytes) - 24 - 2 - 24 - 2
	if length+26 > 255 {
		length -= 3 // the data's length takes four bytes then
	}
	n.Must(t).Exec(fmt.Sprintf("SELECT pg_logical_emit_message(%t, 'x', repeat('x', %d))", transactional, length))
}

// insertAt is where the next record will begin, or the page header before it.
func insertAt(t *testing.T, n *rewindtest.Node) pg.LSN {
	t.Helper()
	lsn, err := pg.ParseLSN(n.Must(t).Value("SELECT pg_current_wal_insert_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

// fillUp writes up to left bytes before the end of a page or segment. Less than
// a page is only flushed by a commit, whose record is then the last.
func fillUp(t *testing.T, n *rewindtest.Node, unit, left pg.LSN) {
	t.Helper()
	n.Must(t).Exec("SELECT pg_switch_wal()", "CREATE TABLE IF NOT EXISTS filled(i int)") // a full page, or segment, is ahead
	for {
		at := insertAt(t, n)
		end := (at/unit+1)*unit - left
		switch room := end - at; {
		case at/walPage != (end-1)/walPage && room > 2*walPage:
			n.Must(t).Exec(fmt.Sprintf("SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 2000))) FROM generate_series(1, %d)", (room-walPage)/2100))
		case at/walPage != (end-1)/walPage:
			message(t, n, 1000, false)
		case room >= 256 && left > 0:
			const commit = 40
			message(t, n, room-commit, true)
			return
		case room >= 256:
			message(t, n, room, false)
			return
		default:
			message(t, n, 1000, false) // over the end, to the next one
		}
	}
}

// TestHistoryForkAtBoundary: the last record that both have ends with a page, or with a
// segment, or a few bytes before; the next, on the old primary, goes over
// several segments.
func TestHistoryForkAtBoundary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		unit, left pg.LSN
	}{
		{"page", walPage, 0}, {"segment", walSegment, 0}, {"less than a record header before the segment", walSegment, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rare(t, c.unit == walPage)
			onMajors(t, func(t *testing.T, install rewindtest.Install) {
				old := newPrimaryOn(t, install, quietCluster())
				old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
				leader := old.Standby(t, "leader")
				leader.Must(t).WaitForCatchup(old)
				var fork pg.LSN
				for try := 0; try == 0 || (fork+c.left)%c.unit != 0; try++ { // the server writes records of its own now and then
					if try == 10 {
						t.Fatalf("the last record ends at %s", fork)
					}
					fillUp(t, old, c.unit, c.left)
					fork = endOf(t, old)
				}
				waitFor(t, leader, "SELECT pg_last_wal_replay_lsn() >= '"+fork.String()+"'")
				leader.Must(t).Promote()
				old.Must(t).Exec("SELECT pg_logical_emit_message(true, 'x', repeat('x', 2500000))", "DELETE FROM t WHERE i % 2 = 0")
				old.Must(t).Kill()
				leader.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0")
				p := rejoin(t, old, leader)
				wantStrategy(t, p, rewind.StrategyWAL)
				if p.Fork.LSN != fork {
					t.Errorf("fork at %s, want it at %s", p.Fork.LSN, fork)
				}
			})
		})
	}
}

// TestHistoryLongCheckpoint: the last common checkpoint began some segments before its
// record, and the fork is some segments behind it.
func TestHistoryLongCheckpoint(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		opts := quietCluster()
		opts.Conf["max_wal_size"], opts.Conf["checkpoint_completion_target"] = "6MB", "0.9"
		old := newPrimaryOn(t, install, opts)
		old.Must(t).Exec("CREATE TABLE t(i int primary key, v text)", "CREATE TABLE u AS SELECT generate_series(1, 5000) i")
		leader := old.Standby(t, "leader")
		const distance = `SELECT (checkpoint_lsn - '0/0') / 1048576 - (redo_lsn - '0/0') / 1048576 > 1 FROM pg_control_checkpoint()`
		for i := 0; old.Must(t).Value(distance) != "t"; i++ {
			if i == 200 {
				t.Fatal("no checkpoint took more than a segment")
			}
			old.Must(t).Exec(fmt.Sprintf("INSERT INTO t SELECT %d + i, repeat('x', 100) FROM generate_series(1, 1000) i", i*1000))
		}
		old.Must(t).SetConf("max_wal_size", "1GB")
		old.Must(t).Exec("UPDATE u SET i = i + 1", "SELECT pg_switch_wal()", "DELETE FROM t WHERE i % 5 = 0", "SELECT pg_switch_wal()")
		leader.Must(t).WaitForCatchup(old)
		leader.Must(t).Promote()
		old.Must(t).Exec("UPDATE t SET v = 'old' WHERE i % 7 = 0")
		// Its restartpoints are older, and replay would begin there.
		leader.Must(t).Exec("CHECKPOINT", "UPDATE t SET v = 'new' WHERE i % 3 = 0")
		old.Must(t).Kill()
		p := rejoin(t, old, leader)
		wantStrategy(t, p, rewind.StrategyWAL)
		if r, c, f := p.Replay.Redo/walSegment, p.Replay.LSN/walSegment, p.Fork.LSN/walSegment; r >= c || c >= f {
			t.Errorf("redo in segment %d, checkpoint in %d, fork in %d; want three", r, c, f)
		}
	})
}

// tear makes the server write a record over the end of a segment, kills it, and
// takes what was in the next segment from it, as a lost page cache would.
func tear(t *testing.T, n *rewindtest.Node, take func(t *testing.T, segment string)) {
	t.Helper()
	fillUp(t, n, walSegment, 4000)
	from := insertAt(t, n)
	message(t, n, 200_000, false)
	end := insertAt(t, n)
	if from/walSegment == end/walSegment {
		t.Fatalf("the record from %s to %s lies in one segment", from, end)
	}
	waitFor(t, n, "SELECT pg_current_wal_flush_lsn() >= '"+(end&^(walPage-1)).String()+"'")
	n.Must(t).Kill()
	take(t, filepath.Join(n.Dir, "pg_wal", pg.SegmentName(1, pg.SegmentOf(end, walSegment), walSegment)))
}

func blank(t *testing.T, segment string) {
	t.Helper()
	if err := os.WriteFile(segment, make([]byte, walSegment), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHistoryTornRecord: the old primary crashed in the middle of a record behind the
// fork. It may have come up once more since, and written behind it.
func TestHistoryTornRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		take  func(*testing.T, string)
		again bool
	}{{"at the end", blank, false}, {"at the end, next segment gone", remove, false}, {"in the middle", blank, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rare(t, !c.again)
			onMajors(t, func(t *testing.T, install rewindtest.Install) {
				old := newPrimaryOn(t, install, quietCluster())
				old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
				leader := old.Standby(t, "leader")
				leader.Must(t).WaitForCatchup(old)
				leader.Must(t).Promote()
				old.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0")
				tear(t, old, c.take)
				if c.again {
					old.Must(t).Start()
					old.Must(t).Exec("CREATE TABLE mine AS SELECT generate_series(1, 20000) i")
					old.Must(t).Kill()
				}
				leader.Must(t).Exec("UPDATE t SET i = -i WHERE i % 3 = 0")
				p := rejoin(t, old, leader)
				wantStrategy(t, p, rewind.StrategyWAL)
				if want := int64(1); c.again && p.Lost.Commits <= want {
					t.Errorf("%d commits found, want those behind the torn record too", p.Lost.Commits)
				}
			})
		})
	}
}
