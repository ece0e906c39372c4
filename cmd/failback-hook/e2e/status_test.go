package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// shownStatus is what programs read of status --output json.
type shownStatus struct {
	Leader  string `json:"leader"`
	Members []struct {
		Name     string `json:"name"`
		Standing string `json:"standing"`
		Diverged int64  `json:"diverged_bytes"`
	} `json:"members"`
	AtWork []struct {
		Member   string `json:"member"`
		Progress *struct {
			Phase string `json:"phase"`
		} `json:"progress"`
	} `json:"at_work"`
	Queue []struct {
		Member string `json:"member"`
	} `json:"queue"`
}

// names are those who are at work, and those who wait.
func (s shownStatus) names() (atWork, queue []string) {
	for _, h := range s.AtWork {
		atWork = append(atWork, h.Member)
	}
	for _, h := range s.Queue {
		queue = append(queue, h.Member)
	}
	return atWork, queue
}

// elsewhere is the program on a host that knows scope and etcd and nothing else.
func (s *scene) elsewhere(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{scene: s, cmd: exec.CommandContext(t.Context(), rewindtest.Program(), append(args, "--scope", scope, "--etcd-endpoints", s.etcd.Endpoint())...), cancel: func() {}}
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestQueueOfNodes: three nodes come back at the same time. Two of them wait in the
// queue, which everybody can see, and go on by themselves, one after the other and
// in the order in which they came; all are on record.
func TestQueueOfNodes(t *testing.T) {
	t.Parallel()
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 151, Rows: 1000, KillOld: true})
	second, last := s.old.Clone(t, "node3"), s.old.Clone(t, "node4")
	old := member(s.old, "replica")
	lead := member(s.leader, "primary")
	old.Timeline, old.LSN, lead.Timeline, lead.LSN = 1, 5096, 2, 9000
	for _, m := range []dcstest.Member{old, lead, member(second, "replica"), member(last, "replica")} {
		if err := s.cluster.PutMember(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cluster.Put(t.Context(), "history", `[[1,1000,"no recovery target specified"]]`); err != nil {
		t.Fatal(err)
	}

	watch := s.elsewhere(t, "status", "--watch", "-o", "json")
	begun := s.etcdState(t).revision
	first := s.start(t, s.old, "--output", "json", "--lock-ttl", "2m") // it is halted for a while
	until(t, "the first node to take the lock", func() bool { return len(s.locks(t)) > 0 })
	halt(t, first, syscall.SIGSTOP)
	until(t, "it to be halted", func() bool { return halted(t, first) })
	waiting := s.start(t, second, "--wait", "1m", "--output", "json")
	until(t, "the second node to wait", func() bool {
		return slices.ContainsFunc(s.locks(t), func(key string) bool { return strings.Contains(key, "/queue/") })
	})
	waiting.untilSays(t, "waiting in the queue")
	third := s.start(t, last, "--wait", "1m", "--output", "json")
	third.untilSays(t, "waiting in the queue")

	var now shownStatus
	if err := json.Unmarshal([]byte(s.elsewhere(t, "status", "-o", "json").wait(t).must(t, 0).stdout), &now); err != nil {
		t.Fatal(err)
	}
	atWork, queue := now.names()
	if !slices.Equal(atWork, []string{"node1"}) || !slices.Equal(queue, []string{"node3", "node4"}) || now.Leader != s.leader.Name {
		t.Errorf("status: at work %v, waiting %v, leader %q", atWork, queue, now.Leader)
	}
	for _, m := range now.Members {
		if m.Name == "node1" && (m.Standing != "diverged" || m.Diverged != 4096) || m.Name == s.leader.Name && m.Standing != "leads" {
			t.Errorf("status: %+v", m)
		}
	}
	text := s.elsewhere(t, "status").wait(t).must(t, 0).stdout
	for _, want := range []string{"led by " + s.leader.Name, "At work:", "Waiting, first come first served:", "node3 from"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	again := s.run(t, second, "--wait", "5s").must(t, 9)
	if !strings.Contains(again.stderr, "waits in the queue since") {
		t.Errorf("a second command on the node that waits is told:\n%s", again.stderr)
	}

	// A watch shows the last state of a burst of changes, not each of them: it gets to
	// see the queue for sure only while nothing moves.
	watch.untilShows(t, `"queue":[{"member":"node3"`)
	halt(t, first, syscall.SIGCONT)
	for _, r := range []*running{first, waiting, third} {
		if rep := r.wait(t).must(t, 0).report(t); rep.Outcome != "rejoined" {
			t.Errorf("outcome %q", rep.Outcome)
		}
	}
	if max := s.mostHolders(t, begun); max != 1 {
		t.Errorf("%d nodes held the lock at once, want 1", max)
	}
	if order := s.holders(t, begun); !slices.Equal(order, []string{"node1", "node3", "node4"}) {
		t.Errorf("the lock was held by %v, in this order", order)
	}
	s.noLocks(t)
	for _, n := range []*rewindtest.Node{s.old, second, last} {
		follows(t, n, s.leader)
	}

	if err := watch.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	seen := watch.wait(t).must(t, 130)
	if strings.Count(seen.stdout, "\n") < 3 {
		t.Errorf("the watch has seen\n%s", seen.stdout)
	}
	s.remembered(t, last)
}

// holders replays etcd's history: who has held one of the leader's places, in order.
func (s *scene) holders(t *testing.T, after int64) (members []string) {
	t.Helper()
	for _, ev := range s.etcdEvents(t, after) {
		var owner struct{ Member string }
		if strings.Contains(string(ev.Kv.Key), "/leaders/") && ev.IsCreate() && json.Unmarshal(ev.Kv.Value, &owner) == nil {
			members = append(members, owner.Member)
		}
	}
	return members
}

// remembered: all rejoins are in etcd, and the node knows its own without it.
func (s *scene) remembered(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	var past struct {
		Rejoins []struct {
			Member, Outcome, Strategy string
			LostBytes                 int64 `json:"lost_bytes"`
		} `json:"rejoins"`
	}
	read := func(out string) {
		if err := json.Unmarshal([]byte(out), &past); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	read(s.elsewhere(t, "history", "-o", "json").wait(t).must(t, 0).stdout)
	if len(past.Rejoins) != 3 || past.Rejoins[0].Member != n.Name || past.Rejoins[0].Outcome != "rejoined" || past.Rejoins[1].LostBytes == 0 {
		t.Errorf("history: %+v", past.Rejoins)
	}
	read(s.run(t, n, "history", "--local", "-o", "json").must(t, 0).stdout)
	// The nodes of a scene share one state directory.
	if len(past.Rejoins) != 3 {
		t.Errorf("history on the node: %+v", past.Rejoins)
	}
}
