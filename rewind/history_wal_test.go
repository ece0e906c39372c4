package rewind_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// signal makes a stopped node a standby at its next start.
func signal(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(n.Dir, "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHistoryBehindTheEnd: what may lie in pg_wal behind the last record of a server
// that was killed, and beside it.
func TestHistoryBehindTheEnd(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		old, leader := splitBrain{
			common: func(n rewindtest.MustNode) { n.Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i") },
			old:    func(n rewindtest.MustNode) { n.Exec("CREATE TABLE mine AS SELECT generate_series(1, 30000) i") },
			leader: func(n rewindtest.MustNode) { n.Exec("DELETE FROM t WHERE i % 2 = 0") },
			kill:   true, install: install,
		}.make(t)
		end := run(t, engineFor(t, old.Clone(t, "whole"), leader)).Target.EndOfWAL
		noise := make([]byte, walSegment)
		r := rand.NewChaCha8([32]byte{1})
		_, _ = r.Read(noise)
		segment := func(n *rewindtest.Node, ahead pg.SegmentNo) string {
			return filepath.Join(n.Dir, "pg_wal", pg.SegmentName(1, pg.SegmentOf(end, walSegment)+ahead, walSegment))
		}
		older := pg.SegmentName(1, pg.SegmentOf(end, walSegment)-1, walSegment) // recycled segments look like this
		for _, c := range []struct {
			name  string
			rare  bool
			spoil func(n *rewindtest.Node)
		}{
			{"zeros", true, func(n *rewindtest.Node) { overwrite(t, segment(n, 0), end, make([]byte, walSegment)) }},
			{"garbage", false, func(n *rewindtest.Node) { overwrite(t, segment(n, 0), end, noise) }},
			{"garbage from the next page on", true, func(n *rewindtest.Node) {
				overwrite(t, segment(n, 0), (end+walPage-1)&^(walPage-1), noise)
			}},
			{"an older segment's bytes", true, func(n *rewindtest.Node) {
				overwrite(t, segment(n, 0), end, readFile(t, filepath.Join(n.Dir, "pg_wal", older))[end%walSegment:])
			}},
			{"segments ahead, and litter", false, func(n *rewindtest.Node) {
				wal := filepath.Join(n.Dir, "pg_wal")
				for name, content := range map[string][]byte{
					filepath.Base(segment(n, 1)):               make([]byte, walSegment),
					filepath.Base(segment(n, 2)):               readFile(t, filepath.Join(wal, older)),
					filepath.Base(segment(n, 0)) + ".partial":  noise,
					older + ".00000028.backup":                 []byte("START WAL LOCATION: 0/28\n"),
					"00000009.history":                         []byte("1\t0/1000\tnobody's\n"),
					"00000002.history":                         []byte("1\t0/1000\tanother's of that number\n"),
					"000000090000000000000001":                 noise,
					"xlogtemp.123":                             noise[:walPage],
					"RECOVERYXLOG":                             noise,
					"archive_status/" + older + ".done":        nil,
					"archive_status/00000009.history.ready":    nil,
					"archive_status/0000000900000000000000.ok": nil,
				} {
					if err := os.WriteFile(filepath.Join(wal, name), content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				rare(t, c.rare)
				n := old.Clone(t, fmt.Sprintf("spoilt%d", len(c.name)))
				c.spoil(n)
				p := run(t, engineFor(t, n, leader))
				wantStrategy(t, p, rewind.StrategyWAL)
				if p.Target.EndOfWAL != end {
					t.Errorf("the WAL ends at %s, want %s", p.Target.EndOfWAL, end)
				}
				for _, name := range []string{"00000009.history", "000000090000000000000001", "archive_status/00000009.history.ready"} {
					if _, err := os.Lstat(filepath.Join(n.Dir, "pg_wal", name)); err == nil {
						t.Errorf("%s is still there", name)
					}
				}
				if !*histories && c.name != "segments ahead, and litter" {
					return // the plan has read what there is to read
				}
				prove(t, n, leader)
			})
		}
	})
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// overwrite writes to a segment from a position to its end.
func overwrite(t *testing.T, segment string, from pg.LSN, b []byte) {
	t.Helper()
	f, err := os.OpenFile(segment, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	off := int64(from % walSegment)
	_, err = f.WriteAt(b[:min(int64(len(b)), walSegment-off)], off)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestHistoryStoppedSource: the source is a directory, of a primary or of a standby,
// that was stopped cleanly; one that was not is refused.
func TestHistoryStoppedSource(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		old := newPrimaryOn(t, install, quietCluster())
		old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
		leader, cascade := old.Standby(t, "leader"), old.Standby(t, "cascade")
		for _, n := range []*rewindtest.Node{leader, cascade} {
			n.Must(t).WaitForCatchup(old)
		}
		leader.Must(t).Promote()
		cascade.Must(t).Stop(rewindtest.Fast)
		cascade.Must(t).Follow(leader)
		cascade.Must(t).Start()
		old.Must(t).Exec("CREATE TABLE mine AS SELECT generate_series(1, 30000) i")
		old.Must(t).Kill()
		leader.Must(t).Exec("DELETE FROM t WHERE i % 2 = 0", "CREATE TABLE yours AS SELECT generate_series(1, 3000) i")
		cascade.Must(t).WaitForCatchup(leader)
		cascade.Must(t).Kill()
		ofStandby := old.Clone(t, "of-standby")
		refused(t, dirEngine(t, ofStandby, cascade, leader), rewind.ErrSourceNotReady)
		cascade.Must(t).Start()
		cascade.Must(t).WaitForCatchup(leader)
		cascade.Must(t).Stop(rewindtest.Fast)
		wantStrategy(t, run(t, dirEngine(t, ofStandby, cascade, leader)), rewind.StrategyWAL)
		prove(t, ofStandby, leader)

		ofStandby.Must(t).Stop(rewindtest.Fast)
		leader.Must(t).Stop(rewindtest.Immediate)
		refused(t, dirEngine(t, old, leader, leader), rewind.ErrSourceNotReady)
		leader.Must(t).Start()
		leader.Must(t).Stop(rewindtest.Fast)
		wantStrategy(t, run(t, dirEngine(t, old, leader, leader)), rewind.StrategyWAL)
		leader.Must(t).Start()
		prove(t, old, leader)
	})
}

// dirEngine rewinds from a stopped node's directory; the node will follow leader.
func dirEngine(t *testing.T, target, from, leader *rewindtest.Node) *rewind.Engine {
	t.Helper()
	src, err := source.OpenDir(from.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return &rewind.Engine{PGData: target.Dir, Source: src, Options: rewind.Options{
		Standby: &rewind.Standby{Conninfo: leader.Conninfo("application_name=" + target.Name)},
	}}
}

// TestHistoryStrayInterrupted: a primary that was stopped cleanly and has nothing
// behind the fork, but the history file of a timeline that nobody knows, which
// has to go. That is interrupted at each of its steps, and continued.
func TestHistoryStrayInterrupted(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		pair := rewindtest.Diverged(t, install, rewindtest.Opts{Seed: 71, Rows: 100, Clean: true, Cluster: quietCluster()})
		s := &interrupted{old: pair.Old, leader: pair.New}
		litter := filepath.Join("pg_wal", "00000009.history")
		if err := os.WriteFile(filepath.Join(s.old.Dir, litter), []byte("1\t0/1000\tnobody's\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.before = snapshot(t, s.old.Dir)
		s.whole = s.copy(t, "whole")
		e := s.engine(t, s.whole)
		steps := noteSteps(e)
		wantStrategy(t, run(t, e), rewind.StrategyNone)
		if _, err := os.Lstat(filepath.Join(s.whole.Dir, litter)); err == nil {
			t.Errorf("%s is still there", litter)
		}
		latch := slices.Index(*steps, "rename global/pg_control")
		for i, step := range *steps {
			if i <= latch || !*histories && step != "publish global/pg_control" {
				continue
			}
			t.Run(step, func(t *testing.T) {
				n := s.copy(t, fmt.Sprintf("stray%d", i))
				state := s.kill(t, n, i)
				p := run(t, s.engine(t, n))
				wantStrategy(t, p, rewind.StrategyNone)
				if p.Resumed != (state == halfDone) {
					t.Errorf("resumed: %t", p.Resumed)
				}
				noOwnFiles(t, n.Dir)
				if _, err := os.Lstat(filepath.Join(n.Dir, litter)); err == nil {
					t.Errorf("%s is still there", litter)
				}
			})
		}
		prove(t, s.whole, s.leader)
	})
}
