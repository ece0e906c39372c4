package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

const (
	// scope is the name of every scene's cluster.
	scope = "demo"
	// lockPrefix is where the program's own keys lie, from the README.
	lockPrefix = "/failback/"
	// patience is how long a run of the program may take.
	patience = 2 * time.Minute
)

// rewindUser is the role of the README: not a superuser.
var rewindUser = []string{
	"CREATE ROLE rewind_user LOGIN PASSWORD '" + userPassword + "'",
	"GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) TO rewind_user",
	"GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO rewind_user",
	"GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO rewind_user",
	"GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO rewind_user",
	"GRANT pg_monitor TO rewind_user",
	"ALTER ROLE rewind_user REPLICATION",
}

const userPassword = "xK9-rewind-secret"

// scene is a cluster after a failover.
type scene struct {
	// old was the primary and is to come back; leader was promoted.
	old, leader *rewindtest.Node
	pair        rewindtest.Pair
	etcd        *dcstest.Server
	admin       *clientv3.Client
	cluster     *dcstest.Cluster
	systemID    uint64
	// dir holds what belongs to the program: configuration, home, state.
	dir string
	// conninfo is the program's source.conninfo, lines further YAML at its end,
	// env further variables.
	conninfo string
	lines    string
	env      []string
	// patroni is a file of Patroni's in the place of the configuration file.
	patroni string
	// said is everything that runs have printed.
	said strings.Builder
}

// newScene makes the cluster and its keys.
func newScene(t *testing.T, install rewindtest.Install, opts rewindtest.Opts, etcd ...dcstest.Option) *scene {
	t.Helper()
	before := opts.Before
	opts.Before = func(old, standby *rewindtest.Node) error {
		if err := old.Exec(rewindUser...); err != nil || before == nil {
			return err
		}
		return before(old, standby)
	}
	s := &scene{etcd: dcstest.Start(t, etcd...), dir: t.TempDir(), conninfo: "user=rewind_user dbname=postgres"}
	s.admin = s.etcd.Inside(t)
	s.pair = rewindtest.Diverged(t, install, opts)
	s.old, s.leader = s.pair.Old, s.pair.New
	id, err := pg.ParseSystemID(s.leader.Must(t).Value("SELECT system_identifier FROM pg_control_system()"))
	if err != nil {
		t.Fatal(err)
	}
	s.systemID = uint64(id)
	s.cluster = dcstest.MustPutCluster(t, s.admin, dcstest.Spec{
		Scope: scope, SystemID: s.systemID, Leader: s.leader.Name,
		Members: []dcstest.Member{member(s.leader, "primary"), member(s.old, "replica")},
	})
	return s
}

// member is a node's key as Patroni writes it.
func member(n *rewindtest.Node, role string) dcstest.Member {
	return dcstest.Member{
		Name: n.Name, ConnURL: fmt.Sprintf("postgres://localhost:%d/postgres", n.Port), State: "running", Role: role, Version: "4.0.7",
	}
}

// setLeader begins a new term.
func (s *scene) setLeader(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := errors.Join(s.cluster.PutMember(ctx, member(n, "primary")), s.cluster.SetLeader(ctx, n.Name)); err != nil {
		t.Fatal(err)
	}
}

// config writes the configuration file of a node's failback-hook.
func (s *scene) config(t *testing.T, n *rewindtest.Node) string {
	t.Helper()
	text := fmt.Sprintf(`scope: %s
name: %s
etcd:
  endpoints: [%q]
postgresql:
  data_dir: %q
  bin_dir: %q
source:
  conninfo: %q
%s`, scope, n.Name, s.etcd.Endpoint(), n.Dir, n.Install.Bin, s.conninfo, s.lines)
	name := filepath.Join(s.dir, n.Name+".yml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// command is the program, ready to be started, in an environment of its own.
func (s *scene) command(ctx context.Context, t *testing.T, n *rewindtest.Node, args ...string) *exec.Cmd {
	t.Helper()
	configuration := []string{"--patroni-config", s.patroni}
	if s.patroni == "" {
		configuration = []string{"--config", s.config(t, n)}
	}
	cmd := exec.CommandContext(ctx, rewindtest.Program(), append(configuration, args...)...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "XDG_STATE_HOME=" + s.stateHome(), "LC_ALL=C",
		// What is refused is wanted at once; tests of waiting say how long.
		"FAILBACK_HOOK_WAIT=0s",
	}, s.env...)
	cmd.Dir = "/"
	// A server that holds our pipes open must not hang the test.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (s *scene) stateHome() string { return filepath.Join(s.dir, "state") }

// result is how a run of the program ended.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// run runs the program to its end.
func (s *scene) run(t *testing.T, n *rewindtest.Node, args ...string) result {
	t.Helper()
	return s.start(t, n, args...).wait(t)
}

// running is a run that has not ended.
type running struct {
	scene          *scene
	cmd            *exec.Cmd
	cancel         context.CancelFunc
	begun          time.Time
	stdout, stderr said
}

// said is what a program prints, to be read while it is running.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// untilSays waits until the program has printed something to standard error.
func (r *running) untilSays(t *testing.T, text string) {
	t.Helper()
	r.untilIn(t, &r.stderr, text)
}

// untilShows waits for the program's output to have the text in it.
func (r *running) untilShows(t *testing.T, text string) {
	t.Helper()
	r.untilIn(t, &r.stdout, text)
}

func (r *running) untilIn(t *testing.T, out fmt.Stringer, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(out.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) || r.cmd.ProcessState != nil {
			t.Fatalf("it never said %q:\n%s", text, out.String())
		}
	}
}

func (s *scene) start(t *testing.T, n *rewindtest.Node, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r := &running{scene: s, cmd: s.command(ctx, t, n, args...), cancel: cancel, begun: time.Now()}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *running) wait(t *testing.T) result {
	t.Helper()
	err := r.cmd.Wait()
	r.cancel()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v\n%s", r.cmd.Args, err, r.stderr.String())
	}
	got := result{code: r.cmd.ProcessState.ExitCode(), stdout: r.stdout.String(), stderr: r.stderr.String(), took: time.Since(r.begun)}
	r.scene.said.WriteString(got.stdout + got.stderr)
	return got
}

// must fails the test unless the program ended with this code.
func (r result) must(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

// report is what programs read of --output json. It is spelled out here and not
// taken from package hook: a renamed field breaks those programs.
type report struct {
	Outcome       string `json:"outcome"`
	Member        string `json:"member"`
	Leader        string `json:"leader"`
	FetchedBytes  int64  `json:"fetched_bytes"`
	DatabaseBytes int64  `json:"database_bytes"`
	SlotCreated   bool   `json:"slot_created"`
	Plan          *struct {
		Strategy string `json:"strategy"`
		Resumed  bool   `json:"resumed"`
		Fork     struct {
			Timeline uint32 `json:"timeline"`
			LSN      string `json:"lsn"`
		} `json:"fork"`
		Totals struct {
			FetchBytes int64 `json:"fetch_bytes"`
		} `json:"totals"`
		Lost struct {
			Bytes   int64 `json:"bytes"`
			Commits int64 `json:"commits"`
		} `json:"lost"`
		Kept []string `json:"kept"`
	} `json:"plan"`
	Standby *struct {
		PrimaryConninfo string `json:"primary_conninfo"`
		PrimarySlotName string `json:"primary_slot_name"`
	} `json:"standby"`
	Streaming *struct {
		Timeline uint32 `json:"timeline"`
		State    string `json:"state"`
	} `json:"streaming"`
	Warnings []string `json:"warnings"`
}

// report reads the standard output of a run with --output json.
func (r result) report(t *testing.T) report {
	t.Helper()
	var rep report
	if err := json.Unmarshal([]byte(r.stdout), &rep); err != nil {
		t.Fatalf("standard output is not JSON: %v\n%s", err, r.stdout)
	}
	return rep
}

// rejoin runs the program with JSON output, which must succeed with this outcome.
func (s *scene) rejoin(t *testing.T, n *rewindtest.Node, outcome string, args ...string) report {
	t.Helper()
	res := s.run(t, n, append([]string{"--output", "json"}, args...)...).must(t, 0)
	rep := res.report(t)
	if rep.Outcome != outcome {
		t.Fatalf("outcome %q, want %q\nstderr:\n%s", rep.Outcome, outcome, res.stderr)
	}
	s.noLocks(t)
	return rep
}

// closeWith ends a node with the test; those of the pair end by themselves.
func closeWith(t *testing.T, n *rewindtest.Node) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.Log(60))
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

// follows proves that the node is the leader's standby with all of its data: it
// receives what is written now, and every row is the same on both.
func follows(t *testing.T, n, leader *rewindtest.Node) {
	t.Helper()
	leader.Must(t).Exec("CREATE TABLE IF NOT EXISTS came_back (at timestamptz)", "INSERT INTO came_back VALUES (now())")
	n.Must(t).WaitForCatchup(leader)
	rewindtest.CompareTables(t, n, leader)
}

// locks are the program's keys in etcd, but for the records of past rejoins.
func (s *scene) locks(t *testing.T) []string {
	t.Helper()
	resp, err := s.admin.Get(context.WithoutCancel(t.Context()), lockPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kv := range resp.Kvs {
		if key := string(kv.Key); !strings.HasPrefix(key, path.Join(lockPrefix, scope, "history")+"/") {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *scene) noLocks(t *testing.T) {
	t.Helper()
	if keys := s.locks(t); len(keys) > 0 {
		t.Errorf("keys left in etcd: %v", keys)
	}
}

// dropLocks ends the leases of dead holders, for tests that would otherwise
// wait for their time to pass.
func (s *scene) dropLocks(t *testing.T) {
	t.Helper()
	resp, err := s.admin.Get(t.Context(), lockPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	leases := map[int64]bool{}
	for _, kv := range resp.Kvs {
		leases[kv.Lease] = true
	}
	delete(leases, 0) // records of past rejoins
	for _, lease := range slices.Sorted(maps.Keys(leases)) {
		if _, err := s.admin.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
			t.Fatal(err)
		}
	}
}

// etcdState is what any write to etcd changes: every change of a key, a
// deletion included, raises the revision, and leases are counted by themselves.
type etcdState struct {
	revision int64
	leases   int
}

func (s *scene) etcdState(t *testing.T) etcdState {
	t.Helper()
	resp, err := s.admin.Get(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.admin.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return etcdState{resp.Header.Revision, len(leases.Leases)}
}

// etcdEvents are all changes of keys after a revision.
func (s *scene) etcdEvents(t *testing.T, after int64) []*clientv3.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := s.etcdState(t).revision
	var events []*clientv3.Event
	if last == after {
		return nil
	}
	for resp := range s.admin.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(after+1)) {
		if err := resp.Err(); err != nil {
			t.Fatal(err)
		}
		events = append(events, resp.Events...)
		if len(events) > 0 && events[len(events)-1].Kv.ModRevision >= last {
			break
		}
	}
	return events
}

// until polls for what announces itself in no other way.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
