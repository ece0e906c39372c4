package e2e

import (
	"path"
	"strconv"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestLimitOfNodes: two nodes come back at the same time, and one leader serves
// one at a time. The first is halted while it holds the lock, so that they
// really meet.
func TestLimitOfNodes(t *testing.T) {
	t.Parallel()
	var second *rewindtest.Node
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 139, Rows: 1000, KillOld: true,
		Before: func(old, _ *rewindtest.Node) (err error) { // it receives what node2 never does
			second, err = old.CreateStandby(rewindtest.StandbyOptions{Name: "node3"})
			return err
		},
	})
	closeWith(t, second)
	second.Must(t).Stop(rewindtest.Fast)
	if err := s.cluster.PutMember(t.Context(), member(second, "replica")); err != nil {
		t.Fatal(err)
	}

	begun := s.etcdState(t).revision
	first := s.start(t, s.old, "--output", "json")
	until(t, "the first node to take the lock", func() bool { return len(s.locks(t)) > 0 })
	halt(t, first, syscall.SIGSTOP)
	until(t, "it to be halted", func() bool { return halted(t, first) })
	refused := s.run(t, second).must(t, 9)
	if !strings.Contains(refused.stderr, `held by member "node1"`) {
		t.Errorf("the second node is not told who holds the lock:\n%s", refused.stderr)
	}
	if max := s.mostHolders(t, begun); max != 1 {
		t.Errorf("%d nodes held the lock at once, want 1", max)
	}
	// Where two are allowed the second need not wait.
	rep := s.run(t, second, "--lock-limit", "2", "--output", "json").must(t, 0).report(t)
	if rep.Outcome != "rejoined" {
		t.Errorf("outcome of the second node is %q", rep.Outcome)
	}
	halt(t, first, syscall.SIGCONT)
	if rep := first.wait(t).must(t, 0).report(t); rep.Outcome != "rejoined" {
		t.Errorf("outcome of the first node is %q", rep.Outcome)
	}
	if max := s.mostHolders(t, begun); max != 2 {
		t.Errorf("%d nodes held the lock at once, want 2", max)
	}
	s.noLocks(t)
	follows(t, s.old, s.leader)
	follows(t, second, s.leader)
}

// TestTwoAtOnce is the same without a conductor: whoever loses runs again.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 149, Rows: 1000, KillOld: true})
	// A copy of the old primary is one more node that has diverged alike.
	second := s.old.Clone(t, "node3")
	if err := s.cluster.PutMember(t.Context(), member(second, "replica")); err != nil {
		t.Fatal(err)
	}
	begun := s.etcdState(t).revision
	pending := map[*rewindtest.Node]*running{}
	for _, n := range []*rewindtest.Node{s.old, second} {
		pending[n] = s.start(t, n)
	}
	for len(pending) > 0 {
		for n, r := range pending {
			delete(pending, n)
			switch res := r.wait(t); res.code {
			case 0:
			case 9:
				pending[n] = s.start(t, n)
			default:
				res.must(t, 0)
			}
		}
	}
	if max := s.mostHolders(t, begun); max != 1 {
		t.Errorf("%d nodes held the lock at once, want 1", max)
	}
	s.noLocks(t)
	follows(t, s.old, s.leader)
	follows(t, second, s.leader)
}

// mostHolders replays etcd's history: how many of the leader's places were ever
// taken at once.
func (s *scene) mostHolders(t *testing.T, after int64) int {
	t.Helper()
	places := path.Join(lockPrefix, scope, "leaders", s.leader.Name) + "/"
	held, most := map[string]bool{}, 0
	for _, ev := range s.etcdEvents(t, after) {
		key := string(ev.Kv.Key)
		if !strings.HasPrefix(key, places) {
			continue
		}
		if ev.Type == clientv3.EventTypeDelete {
			delete(held, key)
		} else {
			held[key] = true
		}
		most = max(most, len(held))
	}
	return most
}

func halt(t *testing.T, r *running, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// TestSixNodes: an old primary and five standbys that had followed it come back at
// once, two at a time. The first to hold a place is killed at work: its lease frees
// the place, and it queues up again like the others.
func TestSixNodes(t *testing.T) {
	t.Parallel()
	var nodes []*rewindtest.Node
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{
		Seed: 233, Rows: 1000, KillOld: true,
		Before: func(old, _ *rewindtest.Node) error { // they receive what node2 never does
			for i := range 5 {
				standby, err := old.CreateStandby(rewindtest.StandbyOptions{Name: "node" + strconv.Itoa(i+3)})
				if err != nil {
					return err
				}
				nodes = append(nodes, standby)
			}
			return nil
		},
	})
	for _, n := range nodes { // their servers run, and no manager looks after them
		closeWith(t, n)
	}
	s.lines = "lock: {limit: 2, ttl: 3s}\n"
	begun := s.etcdState(t).revision
	killed := s.start(t, s.old)
	until(t, "the first node to take a place", func() bool { return len(s.holders(t, begun)) > 0 })
	halt(t, killed, syscall.SIGKILL)
	killed.wait(t)

	nodes = append(nodes, s.old)
	var runs []*running
	for _, n := range nodes {
		runs = append(runs, s.start(t, n, "--wait", "1m", "--settle-timeout", "1s", "--output", "json"))
	}
	for i, r := range runs {
		if rep := r.wait(t).must(t, 0).report(t); rep.Outcome != "rejoined" {
			t.Errorf("outcome of %s is %q", nodes[i].Name, rep.Outcome)
		}
	}
	if max := s.mostHolders(t, begun); max != 2 {
		t.Errorf("%d nodes held the lock at once, want 2", max)
	}
	s.noLocks(t)
	for _, n := range nodes {
		follows(t, n, s.leader)
	}
}
