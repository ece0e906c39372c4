package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// twoPromoted is a pair of which both were promoted to timeline 2, at different
// positions: their segments of 1 MB bear the same names. The target was killed
// before its first checkpoint as a primary, so that it begins at that of its base
// backup, of which the leader, made later, never had the segment.
type twoPromoted struct {
	target, leader *rewindtest.Node
	archive        string
	clones         int
}

func newTwoPromoted(t *testing.T, install rewindtest.Install) *twoPromoted {
	t.Helper()
	primary := newPrimaryOn(t, install, quietCluster())
	primary.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 5000) i")
	s := &twoPromoted{target: primary.Standby(t, "target"), leader: primary.Standby(t, "leader"), archive: rewindtest.NewRoot(t)}
	s.target.Must(t).WaitForCatchup(primary)
	halt(t, s.target, "checkpointer")
	s.target.Must(t).Promote()
	primary.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 30000)", "DELETE FROM t WHERE i % 7 = 0")
	s.leader.Must(t).WaitForCatchup(primary)
	s.leader.Must(t).Promote()
	s.leader.Must(t).Exec("CREATE TABLE yours AS SELECT generate_series(1, 40000) i", "DELETE FROM t WHERE i % 2 = 0", "CHECKPOINT", "CREATE TABLE last(i int)")
	s.target.Must(t).Exec("CREATE TABLE mine AS SELECT generate_series(1, 100000) i", "DELETE FROM t WHERE i % 3 = 0")
	s.target.Must(t).Kill()
	primary.Must(t).Stop(rewindtest.Immediate)
	return s
}

func (s *twoPromoted) clone(t *testing.T) *rewindtest.Node {
	t.Helper()
	s.clones++
	return s.target.Clone(t, fmt.Sprintf("target%d", s.clones))
}

// engine has a restore_command that takes from the archive.
func (s *twoPromoted) engine(t *testing.T, n *rewindtest.Node) *rewind.Engine {
	t.Helper()
	e := engineFor(t, n, s.leader)
	e.Options.RestoreCommand = "cp '" + s.archive + "/%f' '%p'"
	return e
}

// segments are the names of a node's segments, oldest timeline first.
func segments(t *testing.T, n *rewindtest.Node) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(n.Dir, "pg_wal", "0000000?????????????????"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments of %s: %v, %v", n.Name, names, err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// move moves a file of a node's pg_wal elsewhere.
func move(t *testing.T, n *rewindtest.Node, name, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(n.Dir, "pg_wal", name), filepath.Join(to, name)); err != nil {
		t.Fatal(err)
	}
}

// current is the segment that a primary writes.
func current(t *testing.T, n *rewindtest.Node) string {
	t.Helper()
	return n.Must(t).Value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
}

// TestHistoryWALFromArchive: WAL of either side comes from an archive.
func TestHistoryWALFromArchive(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		s := newTwoPromoted(t, install)
		t.Run("the target's own, with gaps", s.ownWithGaps)
		t.Run("a hole that the archive has not", s.ownWithHole)
		t.Run("short files", s.ownCutShort)
		s.moveLeaders(t)
		t.Run("the leader's", s.leaders)
		t.Run("the leader's, in a run that continues", s.leadersContinued)
		t.Run("the target's under the leader's names", s.wrongOnes)
	})
}

// ownWithGaps: of the target's WAL each second segment is in the archive only,
// its history file too.
func (s *twoPromoted) ownWithGaps(t *testing.T) {
	n := s.clone(t)
	defer s.empty(t)
	own := segments(t, n)
	for i, name := range own[:len(own)-1] {
		if i%2 == 0 && strings.HasPrefix(name, "00000002") || strings.HasPrefix(name, "00000001") {
			move(t, n, name, s.archive)
		}
	}
	move(t, n, "00000002.history", s.archive)
	refused(t, engineFor(t, n, s.leader), rewind.ErrTargetWAL)
	before := snapshot(t, n.Dir)
	e := s.engine(t, n)
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	wantStrategy(t, p, rewind.StrategyWAL)
	sameSnapshot(t, "a plan", snapshot(t, n.Dir), before)
	run(t, e)
	noOwnFiles(t, n.Dir)
	prove(t, n, s.leader)
}

// ownWithHole: a segment in the middle is nowhere.
func (s *twoPromoted) ownWithHole(t *testing.T) {
	n := s.clone(t)
	defer s.empty(t)
	own := onTimeline(segments(t, n), "00000002")
	for _, name := range own[:4] {
		move(t, n, name, s.archive)
	}
	remove(t, filepath.Join(s.archive, own[2]))
	refused(t, s.engine(t, n), rewind.ErrTargetWAL)
}

// ownCutShort: the command delivers half of a segment, and says all is well.
func (s *twoPromoted) ownCutShort(t *testing.T) {
	n := s.clone(t)
	defer s.empty(t)
	own := onTimeline(segments(t, n), "00000002")
	move(t, n, own[2], s.archive)
	e := s.engine(t, n)
	e.Options.RestoreCommand = "head -c 500000 '" + s.archive + "/%f' >%p && true"
	refused(t, e, rewind.ErrDamaged)
	e.Options.RestoreCommand = "exit 127"
	_, err := e.Plan(context.Background())
	if err == nil || errors.Is(err, rewind.ErrTargetWAL) || !strings.Contains(err.Error(), "restore_command") {
		t.Errorf("a command that is broken: %v", err)
	}
}

func onTimeline(names []string, tli string) []string {
	var out []string
	for _, name := range names {
		if strings.HasPrefix(name, tli) {
			out = append(out, name)
		}
	}
	return out
}

func (s *twoPromoted) empty(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(s.archive)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		remove(t, filepath.Join(s.archive, f.Name()))
	}
}

// moveLeaders takes from the leader all that it has written to its end.
func (s *twoPromoted) moveLeaders(t *testing.T) {
	t.Helper()
	now := current(t, s.leader)
	for _, name := range segments(t, s.leader) {
		if name[8:] < now[8:] {
			move(t, s.leader, name, s.archive)
		}
	}
}

// leaders: replay will need what only the archive has.
func (s *twoPromoted) leaders(t *testing.T) {
	n := s.clone(t)
	refused(t, engineFor(t, n, s.leader), rewind.ErrSourceWAL)
	p := run(t, s.engine(t, n))
	if len(p.WAL.Restore) < 3 {
		t.Errorf("restored: %v", p.WAL.Restore)
	}
	noOwnFiles(t, n.Dir)
	prove(t, n, s.leader)
}

// leadersContinued: an interrupted run continues when the leader has lost the
// segment with the fork, and everything up to its last.
func (s *twoPromoted) leadersContinued(t *testing.T) {
	n := s.clone(t)
	i := &interrupted{old: n, leader: s.leader}
	e := s.engine(t, n)
	changes := 0
	e.BeforeWrite(func(string, string) error {
		if changes++; changes > 30 {
			return errKilled
		}
		return nil
	})
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(context.Background(), p); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	i.checkLeft(t, n, halfDone)
	refused(t, engineFor(t, n, s.leader), rewind.ErrSourceWAL)
	if p := run(t, s.engine(t, n)); !p.Resumed {
		t.Error("it was not continued")
	}
	prove(t, n, s.leader)
}

// wrongOnes: both nodes archive to one place, where the target's came first.
func (s *twoPromoted) wrongOnes(t *testing.T) {
	n := s.clone(t)
	wrong := 0
	for _, name := range onTimeline(segments(t, n), "00000002") {
		if _, err := os.Stat(filepath.Join(s.archive, name)); err == nil {
			b, err := os.ReadFile(filepath.Join(n.Dir, "pg_wal", name))
			if err == nil {
				err = os.WriteFile(filepath.Join(s.archive, name), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			wrong++
		}
	}
	if wrong == 0 {
		t.Fatal("no segment of the leader's has the name of one of the target's")
	}
	refused(t, s.engine(t, n), rewind.ErrSourceWAL)
}

// TestHistorySharedArchive: the target's WAL ends in a segment behind which the archive
// has segments of the leader's with the names that the target's would have had.
func TestHistorySharedArchive(t *testing.T) {
	t.Parallel()
	onMajors(t, func(t *testing.T, install rewindtest.Install) {
		s := newTwoPromoted(t, install)
		own := onTimeline(segments(t, s.target), "00000002")
		end := pg.SegmentNo(0)
		for _, name := range own { // the last that was written: those behind it were only made ready
			b, err := os.ReadFile(filepath.Join(s.target.Dir, "pg_wal", name))
			if err != nil {
				t.Fatal(err)
			}
			_, no, _ := pg.ParseSegmentName(name, 1<<20)
			if addr := pg.LSN(le64(b[8:])); addr == no.Start(1<<20) {
				end = max(end, no)
			}
		}
		for _, name := range own {
			if _, no, _ := pg.ParseSegmentName(name, 1<<20); no > end {
				remove(t, filepath.Join(s.target.Dir, "pg_wal", name))
			}
		}
		for pg.SegmentOf(endOf(t, s.leader), 1<<20) <= end+1 {
			s.leader.Must(t).Exec("INSERT INTO yours SELECT generate_series(1, 20000)")
		}
		b, err := os.ReadFile(filepath.Join(s.leader.Dir, "pg_wal", pg.SegmentName(2, end+1, 1<<20)))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.archive, pg.SegmentName(2, end+1, 1<<20)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		p := rejoinWith(t, s.target, s.leader, s.engine(t, s.target))
		wantStrategy(t, p, rewind.StrategyWAL)
		if no := pg.SegmentOf(p.Target.EndOfWAL-1, 1<<20); no != end {
			t.Errorf("the target's WAL is read up to %s, in segment %d; want it to end in %d", p.Target.EndOfWAL, no, end)
		}
	})
}

func endOf(t *testing.T, n *rewindtest.Node) pg.LSN {
	t.Helper()
	lsn, err := n.EndOfWAL()
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

func le64(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
