package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// kills is how many moments of the work a kill is tried at.
const kills = 8

// TestKilledAndRunAgain: SIGKILL at moments that are spread over the whole work.
// As long as it is not done no server can start on the directory; the same
// command brings the node back.
func TestKilledAndRunAgain(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		s := newScene(t, pg, rewindtest.Opts{Seed: 113, Rows: 4000, KillOld: true, CheckpointsAfterFork: 1})
		s.lines = "lock:\n  ttl: 3s\n"
		pristine := rewindtest.Copy(t, s.old.Dir)
		work := s.timeOfWork(t)
		s.restore(t, pristine) // the first time, much was not in the page cache yet
		work = min(work, s.timeOfWork(t))
		t.Logf("the directory is being changed for %s", work)
		resumed := 0
		for i := range kills + 1 { // the last one while the server starts
			s.restore(t, pristine)
			after := time.Duration(i) * work / kills
			if s.killDuringWork(t, after) == latched {
				mustNotStart(t, s.old)
			}
			rep := s.bringBack(t, i)
			if rep.Plan != nil && rep.Plan.Resumed {
				resumed++
			}
			follows(t, s.old, s.leader)
			if t.Failed() {
				t.Fatalf("after a kill %s into the work", after)
			}
		}
		if resumed < kills/4 { // the work is faster or slower at times
			t.Errorf("only %d of %d kills met the work half-done", resumed, kills)
		}
		rewindtest.AmCheck(t, s.old)
		s.old.Must(t).Stop(rewindtest.Fast)
		rewindtest.Checksums(t, pg, s.old.Dir)
	})
}

// TestKilledAgainAndAgain: a run that finishes an interrupted one may be killed
// as well, and so on.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 127, Rows: 4000, KillOld: true})
	pristine := rewindtest.Copy(t, s.old.Dir)
	work := s.timeOfWork(t)
	s.restore(t, pristine)
	half := 0
	for i := range kills {
		if s.killDuringWork(t, work*time.Duration(1+i%3)/5) == latched {
			mustNotStart(t, s.old)
			half++
		} else { // too late: that run was the last
			s.restore(t, pristine)
		}
		s.dropLocks(t)
	}
	if half == 0 {
		t.Error("no kill met the work half-done")
	}
	s.rejoin(t, s.old, "rejoined")
	follows(t, s.old, s.leader)
	rewindtest.AmCheck(t, s.old)
}

// TestKilledAndLeaderChanged: the work was begun against a leader that had
// written what the next leader never received. What was already fetched of that
// has to go again.
func TestKilledAndLeaderChanged(t *testing.T) {
	t.Parallel()
	var next *rewindtest.Node // from before the fork: it has all the WAL since then
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 131, Rows: 4000, KillOld: true,
		Before: func(old, _ *rewindtest.Node) (err error) {
			if next, err = old.CreateStandby(rewindtest.StandbyOptions{Name: "node3"}); err != nil {
				return err
			}
			return next.Stop(rewindtest.Fast)
		},
	})
	closeWith(t, next)
	pristine := rewindtest.Copy(t, s.old.Dir)
	work := s.timeOfWork(t)
	s.restore(t, pristine)

	next.Must(t).Follow(s.leader)
	next.Must(t).Start()
	next.Must(t).WaitForCatchup(s.leader)
	next.Must(t).Stop(rewindtest.Fast)
	if err := rewindtest.NewWorkload(7).Run(t.Context(), s.leader, 40); err != nil { // node3 never has it
		t.Fatal(err)
	}
	s.leader.Must(t).Checkpoint()
	// Where the machine has become faster meanwhile, the kill comes too late.
	for after := work * 2 / 3; s.killDuringWork(t, after) != latched; after /= 2 {
		if after < time.Millisecond {
			t.Fatal("no kill met the work half-done")
		}
		s.dropLocks(t)
		s.restore(t, pristine)
	}
	mustNotStart(t, s.old)
	s.leader.Must(t).Kill()
	s.dropLocks(t)

	next.Must(t).Start()
	next.Must(t).Promote()
	next.Must(t).Checkpoint()
	if err := rewindtest.NewWorkload(8).Run(t.Context(), next, 20); err != nil {
		t.Fatal(err)
	}
	s.setLeader(t, next)
	rep := s.rejoin(t, s.old, "rejoined")
	if rep.Leader != next.Name || rep.Streaming == nil || rep.Streaming.Timeline != 3 {
		t.Errorf("back with leader %q, streaming %+v; want %s, timeline 3", rep.Leader, rep.Streaming, next.Name)
	}
	follows(t, s.old, next)
	rewindtest.AmCheck(t, s.old)
	s.old.Must(t).Stop(rewindtest.Fast)
	rewindtest.Checksums(t, s.old.Install, s.old.Dir)
}

// TestLostDuringWork: etcd goes away, or the leader changes, while the directory
// is half-done. The run does not finish what it may not finish, ends in time,
// and is continued by the next one.
func TestLostDuringWork(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 173, KillOld: true, Before: func(old, _ *rewindtest.Node) error {
		return old.Exec(bulk) // changed since the checkpoint, so there is a while to meet the work in
	}})
	pristine := rewindtest.Copy(t, s.old.Dir)
	for _, c := range []struct {
		name      string
		code      int
		lose, end func()
	}{
		{"etcd does not answer", 7, s.etcd.Stall, s.etcd.Resume},
		{"etcd is down", 7, s.etcd.Cut, s.etcd.Reconnect},
		{"the leader begins a new term", 17, func() { s.setLeader(t, s.leader) }, func() {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.restore(t, pristine)
			r := s.start(t, s.old, "--etcd-request-timeout", "1s", "--on-failure", "keep")
			until(t, "the directory to be changed", func() bool { return s.workUnderWay(t) })
			halt(t, r, syscall.SIGSTOP)
			until(t, "it to be halted", func() bool { return halted(t, r) })
			c.lose()
			begun := time.Now()
			halt(t, r, syscall.SIGCONT)
			res := r.wait(t)
			took := time.Since(begun)
			c.end()
			res.must(t, c.code)
			if took > 15*time.Second {
				t.Errorf("it took %s to end", took)
			}
			if s.state(t) != latched {
				t.Fatal("the directory can be started")
			}
			mustNotStart(t, s.old)
			s.bringBack(t, 1)
			follows(t, s.old, s.leader)
		})
	}
}

// halted tells whether the kernel has stopped the process.
func halted(t *testing.T, r *running) bool {
	t.Helper()
	stat := readFile(t, fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	return strings.HasPrefix(stat[strings.LastIndexByte(stat, ')')+1:], " T")
}

// TestTerminatedDuringWork: SIGTERM is not a kill: the lock is given back, and
// the exit code and the hint say how it goes on.
func TestTerminatedDuringWork(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 137, Rows: 4000, KillOld: true})
	r := s.start(t, s.old)
	until(t, "the directory to be changed", func() bool { return s.workUnderWay(t) })
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	res := r.wait(t).must(t, 130)
	if !strings.Contains(res.stderr, "\nhint: run it again") {
		t.Errorf("no hint in\n%s", res.stderr)
	}
	s.noLocks(t)
	if s.state(t) == latched {
		mustNotStart(t, s.old)
	}
	s.bringBack(t, 1)
	follows(t, s.old, s.leader)
}

// dirState is what a run has left.
type dirState int

const (
	// settled: begun and not yet changed, or done but for clearing up.
	settled dirState = iota
	latched
)

// state looks at the directory while nobody works on it.
func (s *scene) state(t *testing.T) dirState {
	t.Helper()
	_, err := os.Lstat(filepath.Join(s.old.Dir, "global", "pg_control"))
	switch {
	case err == nil:
		return settled
	case !errors.Is(err, fs.ErrNotExist):
		t.Fatal(err)
	case !s.workUnderWay(t):
		t.Fatal("no control file and no journal")
	}
	return latched
}

func (s *scene) workUnderWay(t *testing.T) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join(s.old.Dir, rewind.JournalDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// timeOfWork runs the program undisturbed and measures how long it changes the directory.
func (s *scene) timeOfWork(t *testing.T) time.Duration {
	t.Helper()
	r := s.start(t, s.old, "--output", "json")
	control := func() bool { // the journal stays until the node streams
		_, err := os.Lstat(filepath.Join(s.old.Dir, "global", "pg_control"))
		return err == nil
	}
	until(t, "the work to begin", func() bool { return !control() })
	begun := time.Now()
	until(t, "the work to end", control)
	took := time.Since(begun)
	r.wait(t).must(t, 0)
	return took
}

// restore stops the node and gives it back the directory it had.
func (s *scene) restore(t *testing.T, pristine string) {
	t.Helper()
	s.old.Must(t).Stop(rewindtest.Immediate)
	if err := os.RemoveAll(s.old.Dir); err != nil {
		t.Fatal(err)
	}
	if err := rewindtest.CopyDir(pristine, s.old.Dir); err != nil {
		t.Fatal(err)
	}
}

// killDuringWork runs the program and kills it so long after it began to change
// the directory, or as soon as it has ended.
func (s *scene) killDuringWork(t *testing.T, after time.Duration) dirState {
	t.Helper()
	r := s.start(t, s.old)
	seen := make(chan struct{})
	go func() { // a run that resumes finds the journal there: it has begun when it holds the lock
		defer close(seen)
		until(t, "the work to begin", func() bool { return s.workUnderWay(t) && len(s.locks(t)) > 0 })
	}()
	<-seen
	time.Sleep(after) // a moment of the work, whichever it is
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.wait(t)
	return s.state(t)
}

// bringBack runs the command again. The first time the lock of the killed
// process is waited for, which the program does by itself; later on that time
// is saved.
func (s *scene) bringBack(t *testing.T, round int) report {
	t.Helper()
	if round > 0 {
		s.dropLocks(t)
	}
	res := s.run(t, s.old, "--output", "json").must(t, 0)
	rep := res.report(t)
	s.noLocks(t)
	return rep
}

// mustNotStart: PostgreSQL itself refuses a directory that is half-done.
func mustNotStart(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	err := n.Start()
	if err == nil {
		t.Fatal("a server started on a half-done directory")
	}
	if !strings.Contains(err.Error(), "pg_control") {
		t.Errorf("the server did not start for another reason: %v", err)
	}
}
