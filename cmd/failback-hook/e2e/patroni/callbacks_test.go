package patroni

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

// configureCallbacks is the way of the callbacks, on all nodes.
func (c *cluster) configureCallbacks(t *testing.T) {
	t.Helper()
	for _, n := range c.nodes {
		n.configure(t, n.example(t, "callbacks/patroni.yml"))
		n.configureOwn(t, n.example(t, "callbacks/failback-hook.yml"))
	}
}

// TestCallbacks: a leader that has died comes back by itself. Its Patroni takes
// it for a standby that runs; the callback's worker sees that it is not, has it
// made anew by Patroni, and that calls the program as its replica method.
func TestCallbacks(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		old, successor := c.nodes[0], c.nodes[1]
		c.configureCallbacks(t)
		c.up(t)
		c.loseLeader(t, old, successor)
		old.start(t)
		c.follows(t, old, successor)
		old.rewoundByMethod(t)
		log := old.workerLog(t)
		if !strings.Contains(log, "was asked to bring the node back") {
			t.Errorf("the worker's log does not say what it did:\n%s", log)
		}
		old.workerSays(t, "node1 was brought back into main by its manager and streams from node2.")
		old.workerSays(t, `"outcome": "nothing to do"`) // the look for the events that came meanwhile
		old.idle(t)
		if log := tail(successor.patroni.log, 1<<20); !strings.Contains(log, "this node is the primary: there is nothing to bring back") {
			t.Errorf("the leader's own callback did not know it for one:\n%s", log)
		}
		successor.callbackIsQuick(t)
		// A clean switchover needs no help, and gets none.
		c.ctl(t, "switchover", scope, "--candidate", old.Name, "--force")
		c.awaitLeader(t, old)
		c.follows(t, successor, old)
		successor.idle(t)
		if log := tail(successor.patroni.log, 1<<20); strings.Contains(log, "create-replica") && strings.Contains(log, "reinitialize") {
			t.Errorf("a switchover was followed by a reinitialize:\n%s", tail(old.patroni.log, 60))
		}
	})
}

// callbackIsQuick: Patroni waits for nothing, but kills what is still there when
// the next event comes. On a busy machine the best of some counts.
func (n *node) callbackIsQuick(t *testing.T) {
	t.Helper()
	best := time.Hour
	for range 8 {
		begun := time.Now()
		n.begin(t, "on_start", "replica", scope).end(t, 0)
		best = min(best, time.Since(begun))
	}
	n.idle(t)
	t.Logf("a callback that hands over took %s", best)
	if best > time.Second { // cmd/failback-hook has the test with the limit of 100 ms
		t.Errorf("a callback takes %s", best)
	}
}

// workerLog is what workers of callbacks on this node have logged.
func (n *node) workerLog(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, name := range n.workerLogs() {
		all.WriteString(tail(name, 1<<20))
	}
	return all.String()
}

// workerSays waits until a worker has logged something.
func (n *node) workerSays(t *testing.T, text string) {
	t.Helper()
	until(t, "the worker to say "+text, func() bool { return strings.Contains(n.workerLog(t), text) })
}

// idle waits until no worker is left.
func (n *node) idle(t *testing.T) {
	t.Helper()
	until(t, "the workers of "+n.Name+" to end", func() bool {
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err == nil && strings.Contains(string(b), n.ownConfig()) {
				return false
			}
		}
		return true
	})
}

// rewoundByMethod proves that Patroni called the program, that this did it, and
// that nothing of it is left.
func (n *node) rewoundByMethod(t *testing.T) {
	t.Helper()
	log := tail(n.patroni.log, 1<<20)
	if !strings.Contains(log, "is back in "+scope) || strings.Contains(log, "Removing data directory") || strings.Contains(log, "pg_basebackup") {
		t.Errorf("Patroni's log does not show a rewind by our method:\n%s", tail(n.patroni.log, 80))
	}
	if _, err := os.Stat(filepath.Join(n.Dir, "failback_hook.journal")); err == nil {
		t.Error("the journal is still there")
	}
	if b, err := os.ReadFile(filepath.Join(n.Dir, "postgresql.auto.conf")); err != nil || strings.Contains(string(b), "primary_conninfo") {
		t.Errorf("postgresql.auto.conf (%v):\n%s", err, b)
	}
}

// TestReinit: a person has a node made anew: by a rewind where that is what it
// needs, and by a copy where there is nothing to rewind.
func TestReinit(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		old, successor := c.nodes[0], c.nodes[1]
		for _, n := range c.nodes {
			n.configure(t, n.example(t, "replica-method/patroni.yml"), object{"postgresql": object{"use_pg_rewind": false}})
			n.configureOwn(t, n.example(t, "replica-method/failback-hook.yml"))
		}
		c.up(t) // the second node was made with an empty directory: by basebackup
		if log := tail(successor.patroni.log, 1<<20); !strings.Contains(log, "there is no data directory to rewind") {
			t.Errorf("the method was not asked first:\n%s", log)
		}
		c.loseLeader(t, old, successor)
		old.start(t)
		c.stuck(t, old)
		c.reinit(t, old)
		c.follows(t, old, successor)
		old.rewoundByMethod(t)

		c.keptWhenItFails(t, old, successor)
		c.keptWhenCancelled(t, old, successor)
		c.reinit(t, old)
		c.follows(t, old, successor)
		if log := tail(old.patroni.log, 1<<20); !strings.Contains(log, "there is nothing to rewind") {
			t.Errorf("a healthy node was not left to basebackup:\n%s", tail(successor.patroni.log, 60))
		}
	})
}

// reinit is patronictl reinit.
func (c *cluster) reinit(t *testing.T, n *node) {
	t.Helper()
	c.ctl(t, "reinit", scope, n.Name, "--force")
	c.await(t, n.Name+" to be made anew", func(top dcs.Topology) bool {
		m, _ := top.Member(n.Name)
		return m.State != "running" && m.State != "streaming"
	})
}

// keptWhenItFails: the diverged directory of the successor, which the rewind can
// not do anything with, is moved away before Patroni makes a copy in its place.
func (c *cluster) keptWhenItFails(t *testing.T, leader, victim *node) {
	t.Helper()
	c.loseLeader(t, victim, leader)
	victim.start(t)
	c.stuck(t, victim)
	// The source's user may not read files any more: no rewind is possible.
	leader.Must(t).Exec("REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) FROM rewind_user")
	c.reinit(t, victim)
	c.follows(t, victim, leader)
	leader.Must(t).Exec("GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO rewind_user")
	if kept := victim.kept(); len(kept) != 1 {
		t.Errorf("kept are %q, want one data directory\n%s", kept, tail(victim.patroni.log, 60))
	}
}

// kept are the data directories that the method has moved away.
func (n *node) kept() []string {
	kept, _ := filepath.Glob(filepath.Join(n.dir, "failed", "*", "global", "pg_control"))
	return kept
}

// keptWhenCancelled: a second reinit ends the first one's method by SIGTERM, and
// Patroni removes the directory then.
func (c *cluster) keptWhenCancelled(t *testing.T, leader, victim *node) {
	t.Helper()
	c.loseLeader(t, leader, victim)
	leader.start(t)
	leader, victim = victim, leader // the one that died is to be made anew
	c.stuck(t, victim)
	lock := c.lock(t)
	c.reinit(t, victim)
	until(t, "the method to be at work", func() bool { return pidOf("create-replica", victim.ownConfig()) != 0 })
	c.ctl(t, "reinit", scope, victim.Name, "--force")
	until(t, "the directory to be moved away", func() bool { return len(victim.kept()) == 1 })
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.follows(t, victim, leader)
}
