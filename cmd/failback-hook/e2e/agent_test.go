package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// quickAgent is a configuration of little patience.
const quickAgent = "agent: {interval: 1s, down_after: 1s, stuck_after: 2s}\nlock: {ttl: 3s}\n"

// startAgent starts a node's agent, which ends with the test.
func (s *scene) startAgent(t *testing.T, n *rewindtest.Node) *running {
	t.Helper()
	r := s.start(t, n, "agent")
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			r.stopAgent(t)
		}
		if t.Failed() {
			t.Logf("agent of %s:\n%s", n.Name, r.stderr.String())
		}
	})
	return r
}

// stopAgent ends it as a service manager does.
func (r *running) stopAgent(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.wait(t).must(t, 0)
}

// TestAgent: a primary dies while etcd is away; when etcd is back its agent brings
// it back. It becomes the leader again, and the other one's agent does the same.
func TestAgent(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		s := newScene(t, pg, rewindtest.Opts{Seed: 211, Rows: 2000, KillOld: true})
		s.lines = quickAgent
		s.etcd.Cut()
		first := s.startAgent(t, s.old)
		first.untilSays(t, "cannot look: ")
		s.etcd.Reconnect()
		rewindtest.WaitStreaming(t, s.leader, s.old.Name, 2)
		first.untilSays(t, "already streams from node2")
		follows(t, s.old, s.leader)

		s.old.Must(t).Promote()
		s.setLeader(t, s.old)
		first.untilSays(t, "this node is the leader")
		s.leader.Must(t).Exec("INSERT INTO came_back VALUES (now())")
		s.leader.Must(t).Kill()
		second := s.startAgent(t, s.leader)
		rewindtest.WaitStreaming(t, s.old, s.leader.Name, 3)
		second.untilSays(t, "already streams from node1")
		follows(t, s.leader, s.old)
		first.stopAgent(t)
		second.stopAgent(t)
		s.noLocks(t)
	})
}

// TestAgentKilled: SIGKILL in the middle of the work; the next agent finishes it.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 223, Rows: 4000, KillOld: true})
	s.lines = quickAgent
	r := s.startAgent(t, s.old)
	until(t, "the work to begin", func() bool { return s.workUnderWay(t) })
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.wait(t)
	if s.state(t) == latched {
		mustNotStart(t, s.old)
	}
	s.startAgent(t, s.old)
	rewindtest.WaitStreaming(t, s.leader, s.old.Name, 2)
	follows(t, s.old, s.leader)
}

// TestAgentFences: a second primary is only reported until the agent may stop it,
// which a reload allows; a configuration that is wrong changes nothing. All of it as
// a service manager sees it.
func TestAgentFences(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 227, Rows: 2000})
	if !s.old.Running() {
		s.old.Must(t).Start()
	}
	if err := s.cluster.Crash(t.Context(), s.old.Name); err != nil { // nobody manages this node
		t.Fatal(err)
	}
	socket, told := notifySocket(t)
	s.env = append(s.env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=3000000")
	s.lines = quickAgent
	r := s.startAgent(t, s.old)
	r.untilSays(t, "agent.fence_after is not set")
	told.has(t, "READY=1")
	told.has(t, "STATUS=the server runs as a primary beside the leader node2")
	told.has(t, "WATCHDOG=1")

	s.lines = quickAgent + "unknown: 1\n"
	s.reload(t, r)
	r.untilSays(t, "the configuration is refused")
	told.has(t, "RELOADING=1")
	if !s.old.Running() {
		t.Fatal("the server was stopped")
	}
	s.lines = strings.Replace(quickAgent, "{interval", "{fence_after: 2s, interval", 1)
	s.reload(t, r)
	r.untilSays(t, "the configuration was read anew")
	rewindtest.WaitStreaming(t, s.leader, s.old.Name, 2)
	follows(t, s.old, s.leader)
	r.stopAgent(t)
	told.has(t, "STOPPING=1")
}

// TestAgentAndCallback: where an agent is at work a callback is an event for it.
func TestAgentAndCallback(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 229, Rows: 500, KillOld: true})
	s.lines = "agent: {interval: 1h, down_after: 1h}\n"
	r := s.startAgent(t, s.old)
	r.untilSays(t, "rejoin in 60 min")
	res := s.run(t, s.old, "on_start", "replica", scope).must(t, 0)
	if !strings.Contains(res.stderr, "at work already") {
		t.Errorf("the callback says:\n%s", res.stderr)
	}
	if _, err := os.Stat(filepath.Join(s.stateHome(), "failback-hook", "failback-hook."+scope+"."+s.old.Name+".log")); err == nil {
		t.Error("a worker was started beside the agent")
	}
}

// reload has the agent read its configuration file anew.
func (s *scene) reload(t *testing.T, r *running) {
	t.Helper()
	s.config(t, s.old)
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// notifications are what a service manager was told.
type notifications struct{ all said }

// notifySocket listens as systemd does.
func notifySocket(t *testing.T) (name string, told *notifications) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	told = &notifications{}
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			_, _ = told.all.Write(append(b[:n:n], '\n'))
		}
	}()
	return name, told
}

func (n *notifications) has(t *testing.T, line string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !strings.Contains(n.all.String(), line) {
		if time.Now().After(deadline) {
			t.Fatalf("the service manager was never told %q:\n%s", line, n.all.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
