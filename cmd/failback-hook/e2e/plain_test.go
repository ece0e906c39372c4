package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// leaderKey is the script of examples/plain, with a node's environment.
func (s *scene) leaderKey(t *testing.T, n *rewindtest.Node, args ...string) *exec.Cmd {
	t.Helper()
	script, err := filepath.Abs("../../../examples/plain/leader-key")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", string(text), script}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "SCOPE=" + scope, "NAME=" + n.Name, fmt.Sprintf("URL=postgres://localhost:%d", n.Port),
		"TTL=2", "ETCDCTL_ENDPOINTS=" + s.etcd.Endpoint(),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// TestPlainLayout: a cluster without a manager, its keys kept by the example's script
// with the real etcdctl, and the agent doing the rest.
func TestPlainLayout(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		if os.Getenv("FAILBACK_REQUIRE_PG") != "" {
			t.Fatal("etcdctl is missing: make setup installs it")
		}
		t.Skip("etcdctl is not installed (apt-get install etcd-client)")
	}
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 233, Rows: 1000, KillOld: true})
	if _, err := s.admin.Delete(t.Context(), "/service/"+scope+"/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*rewindtest.Node{s.old, s.leader} {
		if out, err := s.leaderKey(t, n, "member").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	hold := s.leaderKey(t, s.leader, "hold")
	var said said
	hold.Stdout, hold.Stderr = &said, &said
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-hold.Process.Pid, syscall.SIGKILL) })
	until(t, "the leader key", func() bool { return strings.Contains(said.String(), "node2 leads demo") })
	if out, err := s.leaderKey(t, s.old, "hold").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("node2 leads")) {
		t.Errorf("a second holder: %v: %s", err, out)
	}

	s.lines = "layout: plain\n" + quickAgent
	agent := s.startAgent(t, s.old)
	rewindtest.WaitStreaming(t, s.leader, s.old.Name, 2)
	follows(t, s.old, s.leader)

	// The holder and its etcdctl die: the key goes with the lease, and the agent says so.
	if err := syscall.Kill(-hold.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = hold.Wait()
	agent.untilSays(t, "nobody holds the leader key of demo")

	again := s.leaderKey(t, s.leader, "hold")
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the leader key", func() bool { return len(s.leaderValue(t)) > 0 })
	if err := again.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = again.Wait()
	if value := s.leaderValue(t); value != "" {
		t.Errorf("the leader key is still %q after the holder was told to end", value)
	}
}

func (s *scene) leaderValue(t *testing.T) string {
	t.Helper()
	resp, err := s.admin.Get(t.Context(), "/service/"+scope+"/leader")
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		return string(kv.Value)
	}
	return ""
}
