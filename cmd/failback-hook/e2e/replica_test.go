package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestCreateReplica: as a replica method the program rewinds and starts nothing;
// told to end in the middle of the work it moves the directory away, as it was.
// Patroni would remove it 10 seconds later.
func TestCreateReplica(t *testing.T) {
	t.Parallel()
	s, _, pristine := workScene(t, 263)
	keep := filepath.Join(filepath.Dir(s.old.Dir), "failed")
	method := []string{"create-replica", "--patroni-keep-failed=" + keep, "--keep_data=True", "--scope=" + scope, "--role=replica",
		"--datadir=" + s.old.Dir, "--connstring=dbname=postgres user=replicator host=127.0.0.1 port=1"}

	t.Run("told to end", func(t *testing.T) {
		s.restore(t, pristine)
		r := s.startHalted(t, method...)
		halt(t, r, syscall.SIGTERM)
		halt(t, r, syscall.SIGCONT)
		res := r.wait(t).must(t, 143)
		if !strings.Contains(res.stderr, "as it was") {
			t.Errorf("it says %s", res.stderr)
		}
		if _, err := os.Lstat(s.old.Dir); err == nil {
			t.Error("the data directory is still there")
		}
		kept, _ := filepath.Glob(filepath.Join(keep, "*"))
		if len(kept) != 1 {
			t.Fatalf("kept are %q", kept)
		}
		sameContents(t, pristine, kept[0])
		s.noLocks(t)
	})
	t.Run("done", func(t *testing.T) {
		s.restore(t, pristine)
		s.run(t, s.old, method...).must(t, 0)
		if s.old.Running() {
			t.Error("the server was started")
		}
		if left, _ := filepath.Glob(filepath.Join(s.old.Dir, "failback_hook.*")); len(left) != 0 {
			t.Errorf("left in the data directory: %q", left)
		}
		s.old.Must(t).Follow(s.leader) // as Patroni does
		s.old.Must(t).Start()
		rewindtest.WaitStreaming(t, s.leader, s.old.Name, 2)
		follows(t, s.old, s.leader)
	})
	t.Run("nothing to rewind", func(t *testing.T) {
		s.old.Must(t).Stop(rewindtest.Fast)
		before := takeSnapshot(t, s.old.Dir)
		s.run(t, s.old, method...).must(t, 25)
		before.unchanged(t, s.old.Dir)
		s.noLocks(t)
	})
}

// sameContents compares two trees by names, kinds and contents.
func sameContents(t *testing.T, want, got string) {
	t.Helper()
	a, b := takeSnapshot(t, want), takeSnapshot(t, got)
	for path, e := range a {
		if f, ok := b[path]; !ok || f.content != e.content || f.mode != e.mode {
			t.Errorf("%s is another one, or gone: %v", path, ok)
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			t.Errorf("%s was made", path)
		}
	}
}
