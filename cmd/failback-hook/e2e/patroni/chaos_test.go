package patroni

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

var (
	chaos      = flag.Bool("chaos", false, "also run what takes minutes: three nodes, kills, an etcd that is away")
	chaosSeed  = flag.Uint64("chaos-seed", 0, "the order of what happens; 0: a new one each day")
	chaosSteps = flag.Int("chaos-steps", 6, "how many things happen")
)

// misfortune is something that happens to a cluster.
type misfortune struct {
	name string
	do   func(*testing.T, *cluster)
}

// misfortunes makes a list of so many by seed: each once before any comes again.
func misfortunes(seed uint64, steps int) (list []misfortune) {
	all := []misfortune{
		{"the leader dies", killLeader},
		{"its method is killed at work", killMethod},
		{"its Patroni is killed while the method works", killPatroni},
		{"a switchover", switchOver},
		{"etcd stops for longer than the leader bears", stopEtcd},
		{"the leader dies in a pause", killLeaderPaused},
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for len(list) < steps {
		for _, i := range r.Perm(len(all)) {
			list = append(list, all[i])
		}
	}
	return list[:steps]
}

// TestChaos: three nodes in the way of the callbacks. Whatever is killed, stopped
// or switched over, in any order, in the end everybody follows one leader, with its
// data.
func TestChaos(t *testing.T) {
	if !*chaos {
		t.Skip("without -chaos (make test-patroni gives it)")
	}
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 3)
		c.configureCallbacks(t)
		c.up(t)
		seed := *chaosSeed
		if seed == 0 {
			seed = uint64(time.Now().Unix() / 86400)
		}
		t.Logf("to repeat it: make test-patroni SEED=%d STEPS=%d ARGS='-v -run ^TestChaos$'", seed, *chaosSteps)
		for _, step := range misfortunes(seed, *chaosSteps) {
			c.note(t, step.name)
			step.do(t, c)
			c.settled(t)
		}
	})
}

// leader is the node that leads now, with its promotion behind it.
func (c *cluster) leader(t *testing.T) *node {
	t.Helper()
	var leader *node
	c.await(t, "a leader", func(top dcs.Topology) bool {
		for _, n := range c.nodes {
			m, _ := top.Member(n.Name)
			if top.Leader != nil && top.Leader.Name == n.Name && m.Role == dcs.RolePrimary && m.State == "running" && !m.CheckpointPending {
				// A leader that has stepped down because etcd was away still has the key.
				recovering, err := n.Value("SELECT pg_is_in_recovery()")
				leader = n
				return err == nil && recovering == "f"
			}
		}
		return false
	})
	return leader
}

// settled waits until all follow one leader, and compares them with it.
func (c *cluster) settled(t *testing.T) {
	t.Helper()
	leader := c.leader(t)
	for _, n := range c.nodes {
		if n != leader {
			c.follows(t, n, leader)
		}
	}
	for _, n := range c.nodes {
		n.idle(t)
	}
	if keys := c.ownKeys(t); len(keys) != 0 {
		t.Errorf("keys left in etcd: %s", keys)
	}
}

// dies is the end of the leader's machine, after it has written what nobody else
// got; one of the others leads then.
func (c *cluster) dies(t *testing.T) (old *node) {
	t.Helper()
	old = c.leader(t)
	c.holdSenders(t, old)
	c.lost++
	table := "lost_" + strconv.Itoa(c.lost)
	old.Must(t).Exec("CREATE TABLE "+table+" AS SELECT g AS id, repeat('x', 500) AS v FROM generate_series(1, 20000) g", "UPDATE t SET v = '"+table+"' WHERE id < 400")
	old.crash(t)
	c.endLease(t, old)
	leader := c.leader(t)
	leader.Must(t).Exec("CREATE TABLE kept_"+strconv.Itoa(c.lost)+" AS SELECT * FROM t", "UPDATE t SET v = 'kept' WHERE id BETWEEN 200 AND 600")
	return old
}

func killLeader(t *testing.T, c *cluster) { c.dies(t).start(t) }

// atWork waits until the replica method of a node is at work, kept waiting by
// another node's lock, and gives its process.
func (c *cluster) atWork(t *testing.T, n *node) (pid int, release func()) {
	t.Helper()
	lock := c.lock(t)
	n.start(t)
	until(t, "the replica method of "+n.Name+" to be at work", func() bool {
		pid = pidOf("create-replica", n.ownConfig())
		return pid != 0
	})
	return pid, func() {
		if err := lock.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func pidOf(words ...string) int {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		b, err := os.ReadFile(name)
		all := err == nil
		for _, w := range words {
			all = all && strings.Contains(string(b), w)
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); all && err == nil {
			return pid
		}
	}
	return 0
}

// killMethod: Patroni takes that for a failure and goes on to basebackup.
func killMethod(t *testing.T, c *cluster) {
	pid, release := c.atWork(t, c.dies(t))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	release()
}

// killPatroni: the method is an orphan then, and its work is not lost.
func killPatroni(t *testing.T, c *cluster) {
	old := c.dies(t)
	_, release := c.atWork(t, old)
	old.patroni.end(t, syscall.SIGKILL)
	release()
	until(t, "the orphan to end", func() bool { return pidOf("create-replica", old.ownConfig()) == 0 })
	old.start(t)
}

func switchOver(t *testing.T, c *cluster) {
	leader := c.leader(t)
	for _, n := range c.nodes {
		if n != leader {
			c.ctl(t, "switchover", scope, "--candidate", n.Name, "--force")
			c.awaitLeader(t, n)
			return
		}
	}
}

// stopEtcd: the leader steps down, and runs read-only.
func stopEtcd(t *testing.T, c *cluster) {
	leader := c.leader(t)
	if err := c.etcd.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, leader.Name+" to step down", func() bool {
		v, err := leader.Value("SELECT pg_is_in_recovery()")
		return err == nil && v == "t"
	})
	if err := c.etcd.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// killLeaderPaused: nobody is elected, and nobody works, before the pause ends.
func killLeaderPaused(t *testing.T, c *cluster) {
	old := c.leader(t)
	c.ctl(t, "pause", "--wait", scope)
	c.holdSenders(t, old)
	c.lost++
	old.Must(t).Exec("CREATE TABLE lost_paused_" + strconv.Itoa(c.lost) + " AS SELECT * FROM t")
	old.crash(t)
	c.endLease(t, old)
	c.ctlFrom(t, c.other(old), "resume", scope)
	c.leader(t).Must(t).Exec("CREATE TABLE kept_paused_" + strconv.Itoa(c.lost) + " AS SELECT * FROM t")
	old.start(t)
}

func (c *cluster) other(than *node) *node {
	for _, n := range c.nodes {
		if n != than {
			return n
		}
	}
	return nil
}
