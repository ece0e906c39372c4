package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// sameAs fails where the node's directory is not byte for byte the other one.
func (s *scene) sameAs(t *testing.T, pristine string) {
	t.Helper()
	for _, d := range rewindtest.DiffTrees(t, s.old.Dir, pristine, func(string) bool { return false }) {
		t.Errorf("not as before: %s", d)
	}
	if _, err := os.Lstat(filepath.Join(s.old.Dir, rewind.JournalDir)); err == nil {
		t.Error("the journal is still there")
	}
}

// undo runs the command undo.
func (s *scene) undo(t *testing.T, args ...string) result {
	t.Helper()
	return s.run(t, s.old, append([]string{"undo"}, args...)...)
}

// TestGivenBack: a run that gives up in the middle leaves the directory as it
// was, unless it is told to keep what it has done; undo takes that back as well,
// and the whole of a run whose server has not been started.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	s, proxy, pristine := workScene(t, 307)
	t.Run("the leader is gone for good", func(t *testing.T) {
		r := s.startHalted(t, "--wait", "1s")
		proxy.Refuse(true)
		proxy.Reset()
		halt(t, r, syscall.SIGCONT)
		res := r.wait(t).must(t, 10)
		proxy.Refuse(false)
		if !strings.Contains(res.stderr, "given back as it was") {
			t.Errorf("it does not say so:\n%s", res.stderr)
		}
		s.sameAs(t, pristine)
		s.noLocks(t)
	})
	t.Run("SIGTERM", func(t *testing.T) {
		r := s.startHalted(t)
		halt(t, r, syscall.SIGTERM)
		halt(t, r, syscall.SIGCONT)
		r.wait(t).must(t, 143)
		s.sameAs(t, pristine)
	})
	t.Run("kept, and undone by hand", func(t *testing.T) {
		r := s.startHalted(t, "--on-failure", "keep")
		halt(t, r, syscall.SIGTERM)
		halt(t, r, syscall.SIGCONT)
		r.wait(t).must(t, 143)
		if s.state(t) != latched {
			t.Fatal("nothing was kept")
		}
		if res := s.undo(t).must(t, 0); !strings.Contains(res.stdout, "is what it was before the rewind") {
			t.Errorf("undo says %q", res.stdout)
		}
		s.sameAs(t, pristine)
		s.undo(t).must(t, 24)
		s.sameAs(t, pristine)
	})
	t.Run("done, and undone before the start", func(t *testing.T) {
		s.run(t, s.old, "--control", "none").must(t, 0)
		res := s.undo(t, "--output", "json").must(t, 0)
		var done rewind.Undone
		if err := json.Unmarshal([]byte(res.stdout), &done); err != nil || !done.Finished || done.Restored == 0 {
			t.Errorf("undo prints %q: %v", res.stdout, err)
		}
		s.sameAs(t, pristine)
	})
	t.Run("done, started, and too late", func(t *testing.T) {
		s.run(t, s.old, "--control", "none").must(t, 0)
		s.old.Must(t).Start()
		s.undo(t).must(t, 24)
		follows(t, s.old, s.leader)
		s.rejoin(t, s.old, "nothing to do") // and what was kept goes
		if _, err := os.Lstat(filepath.Join(s.old.Dir, rewind.JournalDir)); err == nil {
			t.Error("the journal is still there")
		}
		found, err := filepath.Glob(filepath.Join(s.stateHome(), "failback-hook", "salvage", "*", "*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("salvaged: %v, %v", found, err)
		}
		if res := s.run(t, s.old, "lost", "--from", found[0]).must(t, 0); !strings.Contains(res.stdout, "committed") {
			t.Errorf("lost --from prints %q", res.stdout)
		}
	})
	t.Run("wrong usage", func(t *testing.T) {
		s.undo(t, "something").must(t, 2)
		s.undo(t, "--what").must(t, 2)
	})
}
