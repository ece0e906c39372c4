package patroni

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestInPlaceOfPgRewind: Patroni rewinds a former leader with our program, found
// by bin_name where it has that, else in bin_dir.
func TestInPlaceOfPgRewind(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		old, successor := c.nodes[0], c.nodes[1]
		for _, n := range c.nodes {
			n.linkPrograms(t)
			n.configure(t, n.example(t, pgRewindPiece(r)))
			n.configureOwn(t, n.example(t, "by-hand/failback-hook.yml"))
			n.env = []string{"FAILBACK_HOOK_CONFIG=" + n.ownConfig()}
		}
		c.up(t)
		c.loseLeader(t, old, successor)
		lock := c.lock(t)
		old.start(t)
		c.await(t, "the rewind to be kept waiting by the lock", func(dcs.Topology) bool {
			return processOf("pg_rewind", "-D", old.Dir)
		})
		if old.Running() {
			t.Error("the server runs during the rewind")
		}
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.follows(t, old, successor)
		log := tail(old.patroni.log, 1<<20)
		if !strings.Contains(log, "pg_rewind") || !strings.Contains(log, "Done!") {
			t.Errorf("Patroni's log does not show that our program ran:\n%s", log)
		}
		if !strings.Contains(log, "waiting for the lock") {
			t.Errorf("it did not wait for the lock:\n%s", tail(old.patroni.log, 80))
		}
		if keys := c.ownKeys(t); len(keys) != 0 {
			t.Errorf("keys left in etcd: %s", keys)
		}
		if _, err := os.Stat(filepath.Join(old.Dir, "failback_hook.journal")); err == nil {
			t.Error("the journal is still there")
		}
	})
}

// processOf tells whether a process has all these words in its arguments.
func processOf(words ...string) bool {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		b, err := os.ReadFile(name)
		args := strings.Split(string(b), "\x00")
		if err == nil && !slices.ContainsFunc(words, func(w string) bool {
			return !slices.ContainsFunc(args, func(a string) bool { return a == w || filepath.Base(a) == w })
		}) {
			return true
		}
	}
	return false
}

// pgRewindPiece is the example for a version of Patroni.
func pgRewindPiece(r release) string {
	if r.major >= 4 {
		return "pg_rewind/patroni.yml"
	}
	return "pg_rewind/patroni-bin_dir.yml"
}

// linkPrograms does what pg_rewind/README.md says: a directory of links to
// PostgreSQL's programs, with ours as pg_rewind.
func (n *node) linkPrograms(t *testing.T) {
	t.Helper()
	dir := filepath.Join(n.dir, "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := os.ReadDir(n.Install.Bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		to := n.Install.Path(p.Name())
		if p.Name() == "pg_rewind" {
			to = rewindtest.Program()
		}
		if err := os.Symlink(to, filepath.Join(dir, p.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProbe: Patroni asks --help several times in each recovery, and waits.
func TestProbe(t *testing.T) {
	forEachRelease(t, func(t *testing.T, _ release) {
		link := filepath.Join(t.TempDir(), "pg_rewind")
		if err := os.Symlink(rewindtest.Program(), link); err != nil {
			t.Fatal(err)
		}
		best := time.Hour
		for range 10 {
			begun := time.Now()
			if out, err := exec.Command(link, "--help").CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
			best = min(best, time.Since(begun))
		}
		fmt.Println("pg_rewind --help:", best)
		if best > 50*time.Millisecond {
			t.Errorf("--help takes %s", best)
		}
	})
}
