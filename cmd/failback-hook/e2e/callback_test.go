package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestCallback: Patroni calls with EVENT ROLE SCOPE. The answer comes before the
// work can even begin: another node holds the lock until the test lets it go.
func TestCallback(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 151, Rows: 500, KillOld: true})
	s.lines = "log:\n  format: json\n"

	t.Run("events that ask for nothing", func(t *testing.T) { s.idleEvents(t) })
	t.Run("another cluster's event", func(t *testing.T) {
		res := s.run(t, s.old, "on_start", "replica", "elsewhere").must(t, 2)
		if !strings.Contains(res.stderr, `"elsewhere"`) {
			t.Errorf("stderr: %s", res.stderr)
		}
	})

	lock := s.lockFor(t, "node9")
	before := takeSnapshot(t, s.old.Dir)
	pid := s.handOver(t)
	s.outOfReach(t, pid)

	until(t, "the worker to have looked and to wait", func() bool {
		log, err := os.ReadFile(s.workerLog())
		return err == nil && strings.Contains(string(log), "will try again")
	})
	second := s.run(t, s.old, "on_start", "replica", scope).must(t, 0)
	busy := lastLine(t, second.stderr)
	if !strings.Contains(busy.Msg, "at work already") || busy.PID != pid {
		t.Errorf("a second call says %+v, want that process %d is at work", busy, pid)
	}
	before.unchanged(t, s.old.Dir)
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	rewindtest.WaitStreaming(t, s.leader, s.old.Name, 2)
	follows(t, s.old, s.leader)
	until(t, "the worker to end", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	s.noLocks(t)
	log := readFile(t, s.workerLog())
	for _, want := range []string{
		"node1 is back in demo and streams from node2.", "another event came meanwhile", `"outcome":"nothing to do"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the worker's log lacks %q:\n%s", want, log)
		}
	}

	t.Run("foreground", func(t *testing.T) {
		s.old.Must(t).Stop(rewindtest.Fast)
		rep := s.run(t, s.old, "--foreground", "--output", "json", "on_role_change", "replica", scope).must(t, 0).report(t)
		if rep.Outcome != "configured" {
			t.Errorf("outcome %q, want configured", rep.Outcome)
		}
		follows(t, s.old, s.leader)
		rep = s.run(t, s.old, "--foreground", "--output", "json", "on_start", "replica", scope).must(t, 0).report(t)
		if rep.Outcome != "nothing to do" {
			t.Errorf("outcome %q of a second call, want nothing to do", rep.Outcome)
		}
	})
}

// idleEvents: all five events, and the roles of a primary, are accepted.
func (s *scene) idleEvents(t *testing.T) {
	before, etcd := takeSnapshot(t, s.old.Dir), s.etcdState(t)
	for _, role := range []string{"replica", "primary", "master", "promoted", "standby_leader"} {
		for _, event := range []string{"on_stop", "on_restart", "on_reload", "on_start", "on_role_change"} {
			if role == "replica" && (event == "on_start" || event == "on_role_change") {
				continue // the two that are acted upon
			}
			res := s.run(t, s.old, event, role, scope).must(t, 0)
			if line := lastLine(t, res.stderr); line.PID != 0 || res.stdout != "" {
				t.Errorf("%s %s: %+v, stdout %q", event, role, line, res.stdout)
			}
		}
	}
	before.unchanged(t, s.old.Dir)
	if after := s.etcdState(t); after != etcd {
		t.Errorf("etcd went from %+v to %+v", etcd, after)
	}
	if _, err := os.Stat(s.workerLog()); err == nil {
		t.Error("a worker was started")
	}
}

// handOver calls as Patroni does and gives the worker's process id.
func (s *scene) handOver(t *testing.T) int {
	t.Helper()
	res := s.run(t, s.old, "on_role_change", "replica", scope).must(t, 0)
	line := lastLine(t, res.stderr)
	if !strings.Contains(line.Msg, "handed over") || line.PID == 0 || line.Log != s.workerLog() {
		t.Fatalf("the callback says %+v; its log should be %s", line, s.workerLog())
	}
	return line.PID
}

// outOfReach: Patroni kills a callback with all of its descendants. The worker
// is none, and has a session of its own.
func (s *scene) outOfReach(t *testing.T, pid int) {
	t.Helper()
	until(t, "the worker to lose its launcher", func() bool { return !descends(t, pid) })
	sid, err := unix.Getsid(pid)
	if err != nil || sid != pid {
		t.Errorf("the worker's session is %d (%v), want its own, %d", sid, err, pid)
	}
}

// descends tells whether a living process is below this test's own.
func descends(t *testing.T, pid int) bool {
	t.Helper()
	for pid > 1 {
		stat := readFile(t, fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		if pid = parent; pid == os.Getpid() {
			return true
		}
	}
	return false
}

func (s *scene) workerLog() string {
	return filepath.Join(s.stateHome(), "failback-hook", "failback-hook."+scope+"."+s.old.Name+".log")
}

// logLine is a line of --log-format json.
type logLine struct {
	Msg string `json:"msg"`
	PID int    `json:"pid"`
	Log string `json:"log"`
}

func lastLine(t *testing.T, stderr string) logLine {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	var l logLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &l); err != nil {
		t.Fatalf("the log is not JSON: %v\n%s", err, stderr)
	}
	return l
}
