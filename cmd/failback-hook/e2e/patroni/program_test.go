package patroni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// job is the program at work on a node.
type job struct {
	cmd            *exec.Cmd
	stdout, stderr output
}

// output is what a program prints, to be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// begin starts the program on a node, as a person would.
func (n *node) begin(t *testing.T, args ...string) *job {
	t.Helper()
	return n.beginFor(t, patience, args...)
}

// beginFor is begin for a program that may run for so long.
func (n *node) beginFor(t *testing.T, limit time.Duration, args ...string) *job {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	r := &job{cmd: exec.CommandContext(ctx, rewindtest.Program(), append([]string{"--config", n.ownConfig()}, args...)...)}
	r.cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + n.dir, "XDG_STATE_HOME=" + filepath.Join(n.dir, "state"), "LC_ALL=C.UTF-8"}
	r.cmd.Dir, r.cmd.WaitDelay = "/", 5*time.Second
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// end waits for the end, which must have this exit code.
func (r *job) end(t *testing.T, code int) *job {
	t.Helper()
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: exit code %d, want %d\n%s\n%s", r.cmd.Args, got, code, r.stdout.String(), r.stderr.String())
	}
	return r
}

// kill ends the program with a signal, and waits.
func (r *job) kill(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
}

// says waits until the program has written something to standard error.
func (r *job) says(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(r.stderr.String(), text); time.Sleep(20 * time.Millisecond) {
		if gone := syscall.Kill(r.cmd.Process.Pid, 0) != nil || zombie(r.cmd.Process.Pid); gone || time.Now().After(deadline) {
			t.Fatalf("it never said %q:\n%s\n%s", text, r.stdout.String(), r.stderr.String())
		}
	}
}

// zombie tells whether a process has ended and nobody has waited for it.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}

// outcome is that of a run with --output json.
func (r *job) outcome(t *testing.T) string {
	t.Helper()
	var report struct{ Outcome string }
	if err := json.Unmarshal([]byte(r.stdout.String()), &report); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout.String())
	}
	return report.Outcome
}

// lock holds the lock of rejoins as another node does, until the test ends.
func (c *cluster) lock(t *testing.T) *dcs.Lock {
	t.Helper()
	l, err := c.client.Acquire(t.Context(), dcs.LockRequest{Member: "somebody", Operation: "test", Leader: *c.topology(t).Leader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release(context.Background()) })
	return l
}

// revision is that of the last change of any key.
func (c *cluster) revision(t *testing.T) int64 {
	t.Helper()
	resp, err := c.admin.Get(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// configs are the values that the configuration took on after a revision.
func (c *cluster) configs(t *testing.T, after int64) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const key = "/service/" + scope + "/config"
	now, err := c.admin.Get(ctx, key)
	if err != nil || len(now.Kvs) != 1 {
		t.Fatal(err, now)
	}
	var values []string
	if now.Kvs[0].ModRevision <= after {
		return nil
	}
	for resp := range c.admin.Watch(ctx, key, clientv3.WithRev(after+1)) {
		for _, ev := range resp.Events {
			values = append(values, string(ev.Kv.Value))
			if ev.Kv.ModRevision >= now.Kvs[0].ModRevision {
				return values
			}
		}
	}
	t.Fatal("the watch ended")
	return nil
}

// ownKeys are the program's keys in etcd.
func (c *cluster) ownKeys(t *testing.T) []string {
	t.Helper()
	resp, err := c.admin.Get(t.Context(), "/failback/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kv := range resp.Kvs {
		if key := string(kv.Key); !strings.HasPrefix(key, "/failback/"+scope+"/history/") { // records stay
			keys = append(keys, key)
		}
	}
	return keys
}
