package patroni

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

// quickAgent is the configuration of an agent of little patience.
var quickAgent = object{"agent": object{"interval": "1s", "down_after": "2s", "stuck_after": "2s"}, "lock": object{"ttl": "5s"}}

// TestAgent: an agent beside each Patroni, and no callbacks. What a Patroni can do
// itself the agents leave to it; a node that would never stream again is brought
// back by its Patroni, which the agent asks, here over TLS with a certificate.
func TestAgent(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		old, successor := c.nodes[0], c.nodes[1]
		secure := secureREST(t)
		for _, n := range c.nodes {
			n.configure(t, n.example(t, "replica-method/patroni.yml"), object{"postgresql": object{"use_pg_rewind": false}}, secure)
			n.configureOwn(t, n.example(t, "callbacks/failback-hook.yml"), quickAgent)
		}
		c.up(t)
		there := successor.startAgent(t)
		there.says(t, "already streams from node1")
		first := old.startAgent(t)
		first.says(t, "this node is the leader")

		first.kill(t, syscall.SIGKILL) // the whole machine dies
		c.loseLeader(t, old, successor)
		there.says(t, "this node is the leader")
		second := old.startAgent(t) // before the Patroni of this node
		old.start(t)
		second.says(t, "the manager was asked to bring the node back")
		c.follows(t, old, successor)
		old.rewoundByMethod(t)
		second.says(t, "already streams from node2")

		c.agentKilled(t, old, successor, there)
		c.agentsWatch(t, old, successor, second)
	})
}

// secureREST is the part of Patroni's configuration by which its REST interface has
// TLS, and lets nobody in who has no certificate.
func secureREST(t *testing.T) object {
	t.Helper()
	ca := dcstest.NewCA(t)
	server, client := ca.Server(t, nil), ca.Client(t, "patronictl")
	return object{
		"restapi": object{"certfile": server.CertFile, "keyfile": server.KeyFile, "cafile": ca.File, "verify_client": "required"},
		"ctl":     object{"cacert": ca.File, "certfile": client.CertFile, "keyfile": client.KeyFile},
	}
}

// startAgent starts the program as this node's agent; it ends with the test.
func (n *node) startAgent(t *testing.T) *job {
	t.Helper()
	r := n.beginFor(t, time.Hour, "agent")
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			r.kill(t, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("an agent of %s:\n%s", n.Name, r.stderr.String())
		}
	})
	return r
}

// agentKilled: the agent of a node that has come back is killed after it has asked
// Patroni, while the method is held up. The next agent finds the work under way, and
// does nothing of its own.
func (c *cluster) agentKilled(t *testing.T, leader, victim *node, agent *job) {
	t.Helper()
	c.loseLeader(t, victim, leader)
	lock := c.lock(t)
	victim.start(t)
	until(t, "the method to be at work", func() bool { return pidOf("create-replica", victim.ownConfig()) != 0 })
	method := pidOf("create-replica", victim.ownConfig())
	agent.kill(t, syscall.SIGKILL)
	next := victim.startAgent(t)
	next.says(t, "watching over this node")
	if pid := pidOf("create-replica", victim.ownConfig()); pid != method {
		t.Errorf("the method at work is process %d, was %d: it did not outlive the agent", pid, method)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.follows(t, victim, leader)
	victim.rewoundByMethod(t)
	next.says(t, "already streams from "+leader.Name)
	next.kill(t, syscall.SIGTERM)
	if code := next.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("an agent that was told to end ended with %d", code)
	}
}

// agentsWatch: a switchover and a server that is killed are the manager's own
// affairs. The agents look on.
func (c *cluster) agentsWatch(t *testing.T, leader, standby *node, here *job) {
	t.Helper()
	before := c.timesAsked()
	if before != 2 { // once for each failover of this test
		t.Errorf("the logs show %d rewinds by the replica method, want 2", before)
	}
	here.says(t, "this node is the leader")
	there := standby.startAgent(t)
	there.says(t, "already streams from "+leader.Name)
	c.ctl(t, "switchover", scope, "--candidate", standby.Name, "--force")
	c.awaitLeader(t, standby)
	c.follows(t, leader, standby)
	there.says(t, "this node is the leader")
	leader.Must(t).Kill() // the standby's server alone
	c.await(t, "Patroni to see it", func(top dcs.Topology) bool {
		m, _ := top.Member(leader.Name)
		return m.State != "running" && m.State != "streaming"
	})
	c.follows(t, leader, standby)
	if now := c.timesAsked(); now != before {
		t.Errorf("the logs show %d rewinds by the replica method, want %d", now, before)
	}
}

// timesAsked is how often a replica method has rewound a node.
func (c *cluster) timesAsked() (times int) {
	for _, n := range c.nodes {
		times += strings.Count(tail(n.patroni.log, 1<<20), "is back in "+scope)
	}
	return times
}
