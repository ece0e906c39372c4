package patroni

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
		}
		c.up(t)
		c.loseLeader(t, old, successor)
		old.start(t)
		c.follows(t, old, successor)
		log := tail(old.patroni.log, 1<<20)
		if !strings.Contains(log, "pg_rewind") || !strings.Contains(log, "Done!") {
			t.Errorf("Patroni's log does not show that our program ran:\n%s", log)
		}
		if _, err := os.Stat(filepath.Join(old.Dir, "failback_hook.journal")); err == nil {
			t.Error("the journal is still there")
		}
	})
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
			to = os.Getenv(programEnv)
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
		if err := os.Symlink(os.Getenv(programEnv), link); err != nil {
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
