package patroni

import (
	"strings"
	"syscall"
	"testing"

	"github.com/failback-hook/failback-hook/dcs"
)

// TestByHand: a person brings nodes back with --pause, in all the ways in which
// such a run may end.
func TestByHand(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		old, successor := c.nodes[0], c.nodes[1]
		for _, n := range c.nodes {
			n.configure(t)
			n.configureOwn(t, n.example(t, "by-hand/failback-hook.yml"))
		}
		c.up(t)
		c.loseLeader(t, old, successor)
		old.start(t)
		c.stuck(t, old)
		if res := old.begin(t).end(t, 23); !strings.Contains(res.stderr.String(), "--pause") {
			t.Errorf("the hint does not name --pause: %s", res.stderr.String())
		}
		c.interrupted(t, old)
		c.killed(t, old)
		c.follows(t, old, successor)
		c.note(t, "killed and done again")

		// The settings that the program wrote must not outlive Patroni's own.
		c.ctl(t, "switchover", scope, "--candidate", old.Name, "--force")
		c.awaitLeader(t, old)
		c.follows(t, successor, old)
		c.ctl(t, "switchover", scope, "--candidate", successor.Name, "--force")
		c.awaitLeader(t, successor)
		c.follows(t, old, successor)
		c.note(t, "there and back by switchovers")

		c.loseLeader(t, successor, old)
		successor.start(t)
		c.stuck(t, successor)
		c.ctl(t, "pause", "--wait", scope)
		before := c.revision(t)
		if got := successor.begin(t, "--pause", "-o", "json").end(t, 0); got.outcome(t) != "rejoined" || !strings.Contains(got.stdout.String(), "stays so") {
			t.Errorf("%s", got.stdout.String())
		}
		if got := c.configs(t, before); len(got) != 0 {
			t.Errorf("a pause that somebody else had made was changed: %s", got)
		}
		c.follows(t, successor, old)
		c.ctl(t, "resume", "--wait", scope)
		c.follows(t, successor, old)
		if keys := c.ownKeys(t); len(keys) != 0 {
			t.Errorf("keys left in etcd: %s", keys)
		}
	})
}

// interrupted: a run that is told to end resumes the cluster and has changed
// nothing. Another node's lock keeps it waiting under its pause.
func (c *cluster) interrupted(t *testing.T, n *node) {
	t.Helper()
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		before := c.revision(t)
		lock := c.lock(t)
		job := n.begin(t, "--pause")
		job.says(t, "waiting in the queue")
		if top := c.topology(t); !top.Config.Paused || !allPaused(top) {
			t.Errorf("the run waits, and not everybody has seen a pause: %+v", top)
		}
		if err := job.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		job.end(t, code)
		got := c.configs(t, before)
		if len(got) != 2 || !strings.HasSuffix(got[0], `,"pause":true}`) || strings.Contains(got[1], "pause") ||
			strings.TrimSuffix(got[0], `,"pause":true}`) != strings.TrimSuffix(got[1], "}") {
			t.Errorf("%s: the configuration became %q", sig, got)
		}
		if !n.Running() {
			t.Errorf("%s: the server is down", sig)
		}
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.await(t, "everybody to have seen the end of the pause", func(top dcs.Topology) bool {
			for _, m := range top.Members {
				if m.Paused {
					return false
				}
			}
			return true
		})
	}
	c.note(t, "interrupted twice")
}

func allPaused(top dcs.Topology) bool {
	for _, m := range top.Members {
		if !m.Paused {
			return false
		}
	}
	return true
}

// killed: a run that was killed leaves the pause; the next one knows it for ours,
// works, and ends it.
func (c *cluster) killed(t *testing.T, n *node) {
	t.Helper()
	lock := c.lock(t)
	job := n.begin(t, "--pause")
	job.says(t, "waiting in the queue")
	job.kill(t, syscall.SIGKILL)
	if !c.topology(t).Config.Paused {
		t.Fatal("the pause is gone with its process")
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.begin(t, "--pause", "-o", "json").end(t, 0).outcome(t); got != "rejoined" {
		t.Errorf("outcome %q", got)
	}
	if c.topology(t).Config.Paused {
		t.Error("the cluster is still paused")
	}
	if keys := c.ownKeys(t); len(keys) != 0 {
		t.Errorf("keys left in etcd: %s", keys)
	}
}

// stuck waits until a node is what its Patroni calls running and what never
// streams: it has replayed WAL that its leader never had.
func (c *cluster) stuck(t *testing.T, n *node) {
	t.Helper()
	leader := c.topology(t).Leader.Name
	c.await(t, n.Name+" to run", func(top dcs.Topology) bool {
		m, _ := top.Member(n.Name)
		return m.State == "running" && m.Role == dcs.RoleReplica
	})
	until(t, n.Name+" to fail to stream", func() bool {
		return strings.Contains(n.Log(200), "forked off current database system timeline")
	})
	c.note(t, n.Name+" runs and cannot stream from "+leader)
}
