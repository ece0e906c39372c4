package e2e

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source/sourcetest"
)

// work is data of a size that leaves a while to meet the copying in.
const work = "CREATE TABLE work AS SELECT i, repeat(md5(i::text), 30) AS t FROM generate_series(1, 20000) i"

// workScene has a leader that is reached through a proxy, and a node for which
// all of work has to be fetched.
func workScene(t *testing.T, seed uint64) (*scene, *sourcetest.Proxy, string) {
	t.Helper()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: seed, Rows: 200, Steps: 20, KillOld: true,
		Before: func(old, _ *rewindtest.Node) error { return old.Exec(work) }})
	proxy := sourcetest.NewProxy(t, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.leader.Port)))
	s.throughProxy(t, s.leader, proxy)
	return s, proxy, rewindtest.Copy(t, s.old.Dir)
}

// throughProxy makes a node's member key name the proxy.
func (s *scene) throughProxy(t *testing.T, n *rewindtest.Node, proxy *sourcetest.Proxy) {
	t.Helper()
	m := member(n, "primary")
	m.ConnURL = fmt.Sprintf("postgres://127.0.0.1:%d/postgres", proxy.Port())
	if err := s.cluster.PutMember(context.WithoutCancel(t.Context()), m); err != nil {
		t.Fatal(err)
	}
}

// startHalted runs the program and halts it as soon as it changes the directory.
func (s *scene) startHalted(t *testing.T, args ...string) *running {
	t.Helper()
	r := s.start(t, s.old, args...)
	until(t, "the directory to be changed", func() bool { return s.workUnderWay(t) })
	halt(t, r, syscall.SIGSTOP)
	until(t, "it to be halted", func() bool { return halted(t, r) })
	return r
}

// TestTroubleDuringWork: what passes by itself is waited out in the middle of
// the work, and one command ends with a streaming node.
func TestTroubleDuringWork(t *testing.T) {
	t.Parallel()
	s, proxy, pristine := workScene(t, 211)
	s.lines = "lock:\n  ttl: 2s\n"
	for _, c := range []struct {
		name string
		// wait and silence are options; begin is done while the program is halted,
		// end when it has said what it waits for.
		wait, silence string
		begin         func()
		says          string
		end           func()
		warns         string
	}{
		{
			name: "the source restarts", wait: "1m", silence: "1m",
			begin: func() { s.leader.Must(t).Restart() }, end: func() {},
		}, {
			name: "the source is away for longer than a connection is tried", wait: "3s", silence: "1m",
			begin: func() { s.leader.Must(t).Stop(rewindtest.Immediate) },
			says:  "waiting for the leader " + s.leader.Name, end: func() { s.leader.Must(t).Start() },
			warns: "for the leader " + s.leader.Name,
		}, {
			name: "the network is cut", wait: "1m", silence: "1m",
			begin: func() { proxy.Refuse(true); proxy.Reset() },
			says:  "the connection to the leader broke; trying again", end: func() { proxy.Refuse(false) },
		}, {
			name: "the network is silent", wait: "1m", silence: "1s",
			begin: proxy.Stall,
			says:  "the connection to the leader broke; trying again", end: proxy.Resume,
		}, {
			name: "the leader begins a new term", wait: "1m", silence: "1m",
			begin: func() {
				s.setLeader(t, s.leader)
				s.throughProxy(t, s.leader, proxy)
			},
			says: "deciding anew", end: func() {},
		}, {
			name: "etcd is silent for longer than the lock lives", wait: "1m", silence: "1m",
			begin: s.etcd.Stall, says: "waiting for etcd", end: s.etcd.Resume,
			warns: "for etcd",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.restore(t, pristine)
			r := s.startHalted(t, "--output", "json", "--wait", c.wait, "--source-silence", c.silence, "--etcd-request-timeout", "1s", "--etcd-dial-timeout", "1s")
			c.begin()
			halt(t, r, syscall.SIGCONT)
			if c.says != "" {
				r.untilSays(t, c.says)
			}
			c.end()
			s.isBack(t, r, c.warns)
		})
	}
}

// isBack waits for a run, which must have brought the node back and told what
// it went through.
func (s *scene) isBack(t *testing.T, r *running, warns string) {
	t.Helper()
	res := r.wait(t).must(t, 0)
	rep := res.report(t)
	if rep.Outcome != "rejoined" || rep.Streaming == nil {
		t.Errorf("outcome %q, streaming %v", rep.Outcome, rep.Streaming)
	}
	if warns != "" && !strings.Contains(strings.Join(rep.Warnings, "\n"), "waited") ||
		!strings.Contains(strings.Join(rep.Warnings, "\n"), warns) {
		t.Errorf("warnings %q, want one of having waited %s", rep.Warnings, warns)
	}
	s.noLocks(t)
	follows(t, s.old, s.leader)
	if t.Failed() {
		t.Log(res.stderr)
	}
}

// TestEtcdRestarts: etcd is stopped and started again in the middle of the work.
func TestEtcdRestarts(t *testing.T) {
	t.Parallel()
	s, _, _ := workScene(t, 223)
	r := s.startHalted(t, "--output", "json", "--wait", "1m", "--etcd-request-timeout", "1s", "--etcd-dial-timeout", "1s")
	s.etcd.Stop()
	halt(t, r, syscall.SIGCONT)
	if err := s.etcd.Restart(); err != nil {
		t.Fatal(err)
	}
	s.admin = s.etcd.Inside(t)
	s.isBack(t, r, "")
}

// TestEtcdIsAwayAtFirst: at the beginning there is no etcd yet.
func TestEtcdIsAwayAtFirst(t *testing.T) {
	t.Parallel()
	s, _, _ := workScene(t, 227)
	s.etcd.Cut()
	r := s.start(t, s.old, "--output", "json", "--wait", "1m", "--etcd-dial-timeout", "500ms")
	r.untilSays(t, "waiting for etcd")
	s.etcd.Reconnect()
	s.isBack(t, r, "for etcd")
}

// TestLeaderChangesDuringWork: the leader dies in the middle of the copying, and
// another node is promoted. The command that is at work goes on against that.
func TestLeaderChangesDuringWork(t *testing.T) {
	t.Parallel()
	var next *rewindtest.Node // from before the fork: it has all the WAL since then
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 229, Rows: 200, Steps: 20, KillOld: true,
		Before: func(old, _ *rewindtest.Node) (err error) {
			if next, err = old.CreateStandby(rewindtest.StandbyOptions{Name: "node3"}); err != nil {
				return err
			}
			if err := next.Stop(rewindtest.Fast); err != nil {
				return err
			}
			return old.Exec(work)
		},
	})
	closeWith(t, next)
	next.Must(t).Follow(s.leader)
	next.Must(t).Start()
	next.Must(t).WaitForCatchup(s.leader)
	next.Must(t).Stop(rewindtest.Fast)
	if err := rewindtest.NewWorkload(7).Run(t.Context(), s.leader, 10); err != nil { // node3 never has it
		t.Fatal(err)
	}
	r := s.startHalted(t, "--output", "json", "--wait", "1m")
	s.leader.Must(t).Kill()
	ctx := context.WithoutCancel(t.Context())
	if err := s.cluster.RemoveLeader(ctx); err != nil {
		t.Fatal(err)
	}
	halt(t, r, syscall.SIGCONT)
	r.untilSays(t, "waiting for a leader")
	if s.state(t) == latched {
		mustNotStart(t, s.old)
	}
	next.Must(t).Start()
	next.Must(t).Promote()
	next.Must(t).Checkpoint()
	s.setLeader(t, next)
	rep := r.wait(t).must(t, 0).report(t)
	if rep.Leader != next.Name || rep.Outcome != "rejoined" || rep.Streaming == nil || rep.Streaming.Timeline != 3 {
		t.Errorf("outcome %q, leader %q, streaming %+v; want %s, timeline 3", rep.Outcome, rep.Leader, rep.Streaming, next.Name)
	}
	s.noLocks(t)
	follows(t, s.old, next)
	rewindtest.AmCheck(t, s.old)
}

// TestGivesUpWaiting: after its time the run ends with the exit code of what is
// in the way, says how long it waited and what state the node is in; the next
// run goes on.
func TestGivesUpWaiting(t *testing.T) {
	t.Parallel()
	s, proxy, pristine := workScene(t, 233)
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"the patience is over", []string{"--wait", "1s"}, 10, "(waited 1 s for it)"},
		{"the time of the run is over", []string{"--wait", "10m", "--timeout", "5s"}, 124, "the time given by --timeout is over"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.restore(t, pristine)
			r := s.startHalted(t, c.args...)
			proxy.Refuse(true)
			proxy.Reset()
			halt(t, r, syscall.SIGCONT)
			res := r.wait(t).must(t, c.code)
			proxy.Refuse(false)
			s.noLocks(t)
			s.tellsState(t, res, c.says)
			s.bringBack(t, 0)
			follows(t, s.old, s.leader)
		})
	}
}

// tellsState: what was printed is what the directory is.
func (s *scene) tellsState(t *testing.T, res result, says string) {
	t.Helper()
	half := s.state(t) == latched
	if half {
		mustNotStart(t, s.old)
	}
	if told := strings.Contains(res.stderr, "no server can start here until it is finished"); told != half || !strings.Contains(res.stderr, says) {
		t.Errorf("half-done: %v; it says so: %v; want %q in\n%s", half, told, says, res.stderr)
	}
}
