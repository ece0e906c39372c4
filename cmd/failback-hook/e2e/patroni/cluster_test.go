package patroni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

const (
	// scope is the name of every test's cluster.
	scope = "main"
	// patience is how long anything may take; the machine may be a busy one.
	patience = 3 * time.Minute
	// restUser may change things by Patroni's REST interface.
	restUser, restPassword = "patroni", "xR7-rest-secret"
	// superPassword, replicaPassword and rewindPassword are those of the three
	// roles that Patroni makes.
	superPassword, replicaPassword, rewindPassword = "xS1-super-secret", "xP2-replica-secret", "xW3-rewind-secret"
)

// cluster is an etcd and some Patronis.
type cluster struct {
	release release
	begun   time.Time
	dir     string
	etcd    *process
	address string
	admin   *clientv3.Client
	client  *dcs.Client
	nodes   []*node
	// lost counts the failovers that lost something.
	lost int
}

// node is a Patroni with its server.
type node struct {
	*rewindtest.Node
	cluster *cluster
	// rest is host:port of its REST interface.
	rest string
	// dir holds what is not PostgreSQL's: configuration, logs, passwords.
	dir     string
	patroni *process
	env     []string
}

// process is a program that ends with the test.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startProcess starts a program whose output goes to a file. It dies with this
// process, also when that is killed: the kernel ties that to the thread.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// end sends a signal and waits for the end.
func (p *process) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if p == nil {
		return
	}
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Errorf("%s did not end after %s", p.cmd.Path, sig)
	}
}

// newCluster starts an etcd and makes so many nodes; none runs.
func newCluster(t *testing.T, r release, members int) *cluster {
	t.Helper()
	c := &cluster{release: r, begun: time.Now(), dir: rewindtest.NewRoot(t), address: dcstest.FreeAddress(t)}
	t.Cleanup(func() { c.close(t) })
	c.startEtcd(t)
	var err error
	if c.admin, err = clientv3.New(clientv3.Config{Endpoints: []string{c.address}, DialTimeout: patience}); err != nil {
		t.Fatal(err)
	}
	if c.client, err = dcs.Open(t.Context(), dcs.ClientConfig{Endpoints: []string{c.address}, Scope: scope, DialTimeout: patience}); err != nil {
		t.Fatal(err)
	}
	for i := range members {
		c.nodes = append(c.nodes, c.newNode(t, "node"+strconv.Itoa(i+1)))
	}
	return c
}

func (c *cluster) startEtcd(t *testing.T) {
	t.Helper()
	peer := dcstest.FreeAddress(t)
	if c.etcd != nil { // the cluster's address is part of its data
		peer = c.etcd.cmd.Args[len(c.etcd.cmd.Args)-1]
		peer = strings.TrimPrefix(peer, "--listen-peer-urls=http://")
	}
	cmd := exec.Command(c.release.path("etcd"), "--name=etcd", "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--enable-v2=true",
		"--listen-client-urls=http://"+c.address, "--advertise-client-urls=http://"+c.address,
		"--initial-cluster=etcd=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--listen-peer-urls=http://"+peer)
	if c.release.major < 4 { // etcd 3.4 has no such option
		cmd.Args = slices.DeleteFunc(cmd.Args, func(a string) bool { return a == "--unsafe-no-fsync" })
	}
	var err error
	if c.etcd, err = startProcess(cmd, filepath.Join(c.dir, "etcd.log")); err != nil {
		t.Fatal(err)
	}
	until(t, "etcd to listen", func() bool {
		conn, err := net.Dial("tcp", c.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (c *cluster) newNode(t *testing.T, name string) *node {
	t.Helper()
	pg, err := rewindtest.NewManaged(c.dir, name, c.release.pg, rewindtest.Options{Password: superPassword})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Node: pg, cluster: c, rest: dcstest.FreeAddress(t), dir: filepath.Join(c.dir, name, "patroni")}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return n
}

// close ends everything, and shows the logs of a test that has failed.
func (c *cluster) close(t *testing.T) {
	for _, n := range c.nodes {
		n.patroni.end(t, syscall.SIGKILL)
	}
	c.endChildren()
	for _, n := range c.nodes {
		if t.Failed() && n.patroni != nil {
			t.Logf("end of %s's Patroni:\n%s", n.Name, tail(n.patroni.log, 25))
			t.Log(n.Log(12))
		}
		if t.Failed() {
			for _, log := range n.workerLogs() {
				t.Logf("%s:\n%s", log, tail(log, 40))
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if c.client != nil {
		c.client.Close()
	}
	if c.admin != nil {
		c.admin.Close()
	}
	c.etcd.end(t, syscall.SIGKILL)
}

// endChildren ends what a Patroni that was killed has left: callbacks, methods
// and workers of this cluster, which is in their arguments.
func (c *cluster) endChildren() {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range dirs {
		b, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(b), c.dir+"/") || !strings.Contains(string(b), "failback-hook") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (n *node) workerLogs() []string {
	logs, _ := filepath.Glob(filepath.Join(n.stateDir(), "*.log"))
	return logs
}

// stateDir is where the program keeps its own log, by XDG_STATE_HOME.
func (n *node) stateDir() string { return filepath.Join(n.dir, "state", "failback-hook") }

// start starts the node's Patroni.
func (n *node) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(n.cluster.release.path("patroni"), n.configFile())
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + n.dir, "XDG_STATE_HOME=" + filepath.Join(n.dir, "state"), "LC_ALL=C.UTF-8"}, n.env...)
	cmd.Dir = "/"
	var err error
	if n.patroni, err = startProcess(cmd, filepath.Join(n.dir, "patroni.log")); err != nil {
		t.Fatal(err)
	}
}

// crash is the end of the node's machine: Patroni and server at once.
func (n *node) crash(t *testing.T) {
	t.Helper()
	n.patroni.end(t, syscall.SIGKILL)
	n.Must(t).Kill()
}

// ctl runs patronictl, which must succeed.
func (c *cluster) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return c.ctlFrom(t, c.nodes[0], args...)
}

func (c *cluster) ctlFrom(t *testing.T, n *node, args ...string) string {
	t.Helper()
	cmd := exec.Command(c.release.path("patronictl"), append([]string{"-c", n.configFile()}, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + c.dir, "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("patronictl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// topology reads etcd.
func (c *cluster) topology(t *testing.T) dcs.Topology {
	t.Helper()
	topology, err := c.client.Topology(t.Context())
	if err != nil && !errors.Is(err, dcs.ErrNoCluster) {
		t.Fatal(err)
	}
	return topology
}

// await waits until the keys of the cluster are as wanted: it looks at them at
// each of their changes.
func (c *cluster) await(t *testing.T, what string, want func(dcs.Topology) bool) dcs.Topology {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	events := c.admin.Watch(ctx, "/service/", clientv3.WithPrefix())
	for {
		topology := c.topology(t)
		if want(topology) {
			return topology
		}
		select {
		case <-events:
		case <-time.After(time.Second): // a watch may break with its etcd
		}
		if ctx.Err() != nil {
			t.Fatalf("waited %s for %s; the cluster is %+v", patience, what, topology)
		}
	}
}

// awaitLeader waits until a member leads, as a primary whose promotion has ended.
func (c *cluster) awaitLeader(t *testing.T, n *node) {
	t.Helper()
	c.await(t, n.Name+" to lead", func(top dcs.Topology) bool {
		m, _ := top.Member(n.Name)
		return top.Leader != nil && top.Leader.Name == n.Name && m.Role == dcs.RolePrimary && m.State == "running" && !m.CheckpointPending
	})
	c.note(t, n.Name+" leads")
}

// awaitGone waits until a member's key is gone.
func (c *cluster) awaitGone(t *testing.T, n *node) {
	t.Helper()
	c.await(t, n.Name+" to be gone", func(top dcs.Topology) bool {
		_, there := top.Member(n.Name)
		return !there
	})
}

// up starts all nodes, the first one as the leader, and loads data.
func (c *cluster) up(t *testing.T) {
	t.Helper()
	leader := c.nodes[0]
	leader.start(t)
	c.awaitLeader(t, leader)
	leader.Must(t).Exec("GRANT pg_monitor TO rewind_user") // what Patroni does not grant
	leader.Must(t).Exec("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 5000) g")
	for _, n := range c.nodes[1:] {
		n.start(t)
	}
	for _, n := range c.nodes[1:] {
		c.streams(t, n, leader)
	}
}

// streams waits until a node streams from the leader and has everything.
func (c *cluster) streams(t *testing.T, n, leader *node) {
	t.Helper()
	until(t, fmt.Sprintf("%s to stream from %s", n.Name, leader.Name), func() bool {
		v, err := leader.Value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '" + n.Name + "'")
		if err != nil || v != "1" {
			return false
		}
		// The leader shows one as streaming, now and then, that is on another history.
		timeline, err := leader.Timeline()
		if err != nil {
			return false
		}
		received, err := n.Value("SELECT coalesce(max(received_tli), 0) FROM pg_stat_wal_receiver WHERE status = 'streaming'")
		return err == nil && received == fmt.Sprint(timeline)
	})
	n.Must(t).WaitForCatchup(leader.Node)
	c.note(t, n.Name+" streams from "+leader.Name)
}

// follows proves that a node is the leader's standby with all of its data.
func (c *cluster) follows(t *testing.T, n, leader *node) {
	t.Helper()
	c.streams(t, n, leader)
	leader.Must(t).Exec("CREATE TABLE IF NOT EXISTS came_back (at timestamptz)", "INSERT INTO came_back VALUES (now())")
	n.Must(t).WaitForCatchup(leader.Node)
	rewindtest.CompareTables(t, n.Node, leader.Node)
}

// loseLeader makes the leader write what nobody else gets, and kills it. The
// successor leads when it returns, and has written too.
func (c *cluster) loseLeader(t *testing.T, old, successor *node) {
	t.Helper()
	c.holdSenders(t, old)
	c.lost++
	old.Must(t).Exec(fmt.Sprintf("INSERT INTO t SELECT g, 'lost' FROM generate_series(%d, %d) g", 100_000*c.lost, 100_000*c.lost+3000),
		"UPDATE t SET v = 'lost' WHERE id < 500", fmt.Sprintf("CREATE TABLE only_here_%d AS SELECT * FROM t", c.lost))
	old.crash(t)
	c.endLease(t, old)
	c.awaitLeader(t, successor)
	successor.Must(t).Exec(fmt.Sprintf("INSERT INTO t SELECT g, 'new' FROM generate_series(%d, %d) g", 100_000*c.lost+50_000, 100_000*c.lost+53_000),
		"UPDATE t SET v = 'new' WHERE id BETWEEN 300 AND 900", fmt.Sprintf("DELETE FROM t WHERE id BETWEEN %d AND %d", 1000*c.lost, 1000*c.lost+500))
}

// endLease lets the time of a dead Patroni's keys be over: nothing else would
// happen in the seconds until then.
func (c *cluster) endLease(t *testing.T, n *node) {
	t.Helper()
	m, there := c.topology(t).Member(n.Name)
	if !there || m.Lease == 0 {
		return
	}
	if _, err := c.admin.Revoke(t.Context(), clientv3.LeaseID(m.Lease)); err != nil {
		t.Fatal(err)
	}
	c.awaitGone(t, n)
}

// holdSenders stops what sends WAL to the standbys: from here on only this node
// has what it writes. They die with it.
func (c *cluster) holdSenders(t *testing.T, n *node) {
	t.Helper()
	for _, row := range n.Must(t).Query("SELECT pid FROM pg_stat_replication") {
		pid, err := strconv.Atoi(row[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
}

// note says in a test's output how long it took to come there.
func (c *cluster) note(t *testing.T, what string) {
	t.Helper()
	t.Logf("%5.1fs: %s", time.Since(c.begun).Seconds(), what)
}

// until polls for what announces itself in no other way.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// tail is the end of a file.
func tail(name string, lines int) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
