package dcs_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

// lab is a cluster in etcd with an open client.
type lab struct {
	server  *dcstest.Server
	admin   *clientv3.Client
	cluster *dcstest.Cluster
	client  *dcs.Client
	leader  dcs.Leader
}

func newLab(t *testing.T) lab {
	t.Helper()
	s := dcstest.Start(t)
	l := lab{server: s, admin: s.AdminClient(t)}
	l.cluster = dcstest.MustPutCluster(t, l.admin, twoNodes())
	l.client = open(t, configFor(s))
	l.leader = *topology(t, l.client).Leader
	return l
}

func (l lab) request(member string, ttl time.Duration) dcs.LockRequest {
	return dcs.LockRequest{Member: member, Operation: "rejoin", Version: "1.0.0", Leader: l.leader, TTL: ttl}
}

func (l lab) acquire(t *testing.T, member string, ttl time.Duration) *dcs.Lock {
	t.Helper()
	lock, err := l.client.Acquire(t.Context(), l.request(member, ttl))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Release(context.Background()) })
	return lock
}

// leftovers are our keys and leases that are in etcd.
func (l lab) leftovers(t *testing.T) (keys []string, leases int) {
	t.Helper()
	resp, err := l.admin.Get(t.Context(), "/failback/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	all, err := l.admin.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys, len(all.Leases) - 2 // n1 and n2 have a session each
}

func (l lab) wantNothingLeft(t *testing.T) {
	t.Helper()
	if keys, leases := l.leftovers(t); len(keys) != 0 || leases != 0 {
		t.Errorf("left in etcd: keys %v and %d leases", keys, leases)
	}
}

func TestLockKeysAndOwner(t *testing.T) {
	l := newLab(t)
	lock := l.acquire(t, "n1", 30*time.Second)
	keys, leases := l.leftovers(t)
	if diff := cmp.Diff([]string{"/failback/lab/leaders/n2/0", "/failback/lab/nodes/n1"}, keys); diff != "" || leases != 1 {
		t.Errorf("keys (-want +got) %s and %d leases, want 1", diff, leases)
	}
	owner, held, err := l.client.Holder(t.Context(), "n1")
	if err != nil || !held {
		t.Fatalf("Holder: held %v, error %v", held, err)
	}
	host, _ := os.Hostname()
	want := dcs.Owner{Member: "n1", Host: host, PID: os.Getpid(), Operation: "rejoin", Leader: "n2", Version: "1.0.0", Since: owner.Since}
	if diff := cmp.Diff(want, owner); diff != "" || time.Since(owner.Since) > time.Minute {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	all, err := l.client.Locks(t.Context())
	if diff := cmp.Diff([]dcs.Owner{want}, all); diff != "" || err != nil {
		t.Errorf("Locks (-want +got): %s, error %v", diff, err)
	}
	if _, held, err := l.client.Holder(t.Context(), "n3"); held || err != nil {
		t.Errorf("Holder of a free node: held %v, error %v", held, err)
	}
	if err := lock.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.wantNothingLeft(t)
	if err := lock.Release(t.Context()); err != nil {
		t.Errorf("second Release: %v", err)
	}
	if err := ends(t, lock.Context(), time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("cause after Release: %v, want context.Canceled", err)
	}
	wantIs(t, lock.Check(t.Context()), dcs.ErrLockLost)
	again := l.acquire(t, "n1", 30*time.Second)
	if again.Token() <= lock.Token() {
		t.Errorf("the second token %d is not above the first %d", again.Token(), lock.Token())
	}
}

func TestLockIsRefused(t *testing.T) {
	l := newLab(t)
	l.acquire(t, "n1", 30*time.Second)

	_, err := l.client.Acquire(t.Context(), l.request("n1", 30*time.Second))
	wantIs(t, err, dcs.ErrLocked)
	var locked *dcs.LockedError
	if !errors.As(err, &locked) || locked.Key != "/failback/lab/nodes/n1" || locked.Owner.Member != "n1" || locked.Owner.PID != os.Getpid() {
		t.Errorf("same node: %#v", locked)
	}
	_, err = l.client.Acquire(t.Context(), l.request("n3", 30*time.Second))
	if !errors.As(err, &locked) || locked.Key != "/failback/lab/leaders/n2/0" || locked.Owner.Member != "n1" {
		t.Errorf("other node beyond the limit: %v", err)
	}
	wider := l.request("n3", 30*time.Second)
	wider.Limit = 2
	second, err := l.client.Acquire(t.Context(), wider)
	if err != nil {
		t.Fatalf("other node within the limit: %v", err)
	}
	defer second.Release(context.Background())

	for name, change := range map[string]func(*dcs.Leader){
		"name":            func(l *dcs.Leader) { l.Name = "n9" },
		"create revision": func(l *dcs.Leader) { l.CreateRevision-- },
		"lease":           func(l *dcs.Leader) { l.Lease++ },
	} {
		stale := l.request("n4", 30*time.Second)
		change(&stale.Leader)
		if _, err := l.client.Acquire(t.Context(), stale); !errors.Is(err, dcs.ErrLeaderChanged) {
			t.Errorf("leader with another %s: %v", name, err)
		}
	}
	if keys, leases := l.leftovers(t); len(keys) != 4 || leases != 2 {
		t.Errorf("after refusals: keys %v and %d leases, want those of two locks", keys, leases)
	}
}

func TestLockRequestIsChecked(t *testing.T) {
	l := newLab(t)
	for name, change := range map[string]func(*dcs.LockRequest){
		"member": func(r *dcs.LockRequest) { r.Member = "" },
		"leader": func(r *dcs.LockRequest) { r.Leader = dcs.Leader{} },
		"limit":  func(r *dcs.LockRequest) { r.Limit = -1 },
		"TTL":    func(r *dcs.LockRequest) { r.TTL = time.Millisecond },
	} {
		req := l.request("n1", time.Minute)
		change(&req)
		if _, err := l.client.Acquire(t.Context(), req); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("bad %s: error %v", name, err)
		}
	}
	l.wantNothingLeft(t)
}

func TestLockContention(t *testing.T) {
	for _, limit := range []int{1, 3} {
		l := newLab(t)
		const nodes = 24
		var wg sync.WaitGroup
		locks, errs := make([]*dcs.Lock, nodes), make([]error, nodes)
		for i := range nodes {
			wg.Go(func() {
				req := l.request("node"+string(rune('a'+i)), 30*time.Second)
				req.Limit = limit
				locks[i], errs[i] = l.client.Acquire(t.Context(), req)
			})
		}
		wg.Wait()
		winners := 0
		for i := range nodes {
			switch {
			case locks[i] != nil:
				winners++
				defer locks[i].Release(context.Background())
			case !errors.Is(errs[i], dcs.ErrLocked):
				t.Errorf("loser %d: %v", i, errs[i])
			}
		}
		if winners != limit {
			t.Errorf("limit %d: %d winners", limit, winners)
		}
		if keys, leases := l.leftovers(t); len(keys) != 2*limit || leases != limit {
			t.Errorf("limit %d: keys %v and %d leases", limit, keys, leases)
		}
	}
}

func TestLockOfOneNodeIsTakenOnce(t *testing.T) {
	l := newLab(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for range 16 {
		wg.Go(func() {
			req := l.request("n1", 30*time.Second)
			req.Limit = 16
			lock, err := l.client.Acquire(t.Context(), req)
			if err != nil {
				if !errors.Is(err, dcs.ErrLocked) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			winners++
			t.Cleanup(func() { _ = lock.Release(context.Background()) })
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
}

func TestLeaderChangeEndsTheContext(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(*dcstest.Cluster) error{
		"failover":               func(c *dcstest.Cluster) error { return c.SetLeader(ctx, "n3") },
		"same leader, new term":  func(c *dcstest.Cluster) error { return c.SetLeader(ctx, "n2") },
		"key deleted":            func(c *dcstest.Cluster) error { return c.RemoveLeader(ctx) },
		"session ended":          func(c *dcstest.Cluster) error { return c.Crash(ctx, "n2") },
		"same key, new session":  func(c *dcstest.Cluster) error { return errors.Join(c.Renew(ctx, "n2"), c.TouchLeader(ctx, "n2")) },
		"same term, other value": func(c *dcstest.Cluster) error { return c.Put(ctx, "leader", "n3") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			lock := l.acquire(t, "n1", 2*time.Second)
			if err := change(l.cluster); err != nil {
				t.Fatal(err)
			}
			wantIs(t, ends(t, lock.Context(), 5*time.Second), dcs.ErrLeaderChanged)
			wantIs(t, lock.Check(t.Context()), dcs.ErrLeaderChanged)
			// The directory has to be brought into order under the lock.
			if owner, held, err := l.client.Holder(t.Context(), "n1"); !held || err != nil {
				t.Errorf("the lock is no longer held: %v, %v", owner, err)
			}
			if err := lock.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLeaderKeyWrittenAgainChangesNothing(t *testing.T) {
	l := newLab(t)
	lock := l.acquire(t, "n1", 30*time.Second)
	for range 3 {
		if err := l.cluster.TouchLeader(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
	}
	goesOn(t, lock.Context(), 300*time.Millisecond)
	if err := lock.Check(t.Context()); err != nil {
		t.Error(err)
	}
	top := topology(t, l.client)
	if !top.Leader.Same(l.leader) || top.Leader.ModRevision == l.leader.ModRevision {
		t.Errorf("the test did not write the key again: %+v, before %+v", top.Leader, l.leader)
	}
}

func TestKeyTakenAwayEndsTheContext(t *testing.T) {
	for name, key := range map[string]string{"node key": "/failback/lab/nodes/n1", "slot key": "/failback/lab/leaders/n2/0"} {
		for _, overwrite := range []bool{false, true} {
			l := newLab(t)
			lock := l.acquire(t, "n1", 30*time.Second)
			var err error
			if overwrite {
				_, err = l.admin.Put(t.Context(), key, "not JSON")
			} else {
				_, err = l.admin.Delete(t.Context(), key)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := ends(t, lock.Context(), 5*time.Second); !errors.Is(err, dcs.ErrLockLost) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s, overwritten %v: cause %v", name, overwrite, err)
			}
			wantIs(t, lock.Check(t.Context()), dcs.ErrLockLost)
			if err := lock.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestLockSurvivesItsHoldersContext(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	lock, err := l.client.Acquire(ctx, l.request("n1", time.Second))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := ends(t, lock.Context(), time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("cause %v", err)
	}
	// Well beyond the TTL: a holder that rolls back still holds it.
	time.Sleep(2500 * time.Millisecond)
	if err := lock.Check(t.Context()); err != nil {
		t.Errorf("Check while rolling back: %v", err)
	}
	if err := lock.Release(ctx); err != nil {
		t.Errorf("Release with an ended context: %v", err)
	}
	l.wantNothingLeft(t)
}

func TestReleaseEndsGoroutines(t *testing.T) {
	l := newLab(t)
	before := ourGoroutines()
	lock := l.acquire(t, "n1", 30*time.Second)
	for deadline := time.Now().Add(5 * time.Second); ourGoroutines() < before+4; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines while held, want %d", ourGoroutines(), before+4)
		}
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ourGoroutines(); got != before {
		t.Errorf("%d goroutines after Release, before there were %d", got, before)
	}
}

func TestReleaseWithoutEtcd(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	cfg := configFor(s)
	cfg.RequestTimeout = time.Second
	c := open(t, cfg)
	lock, err := c.Acquire(t.Context(), dcs.LockRequest{Member: "n1", Leader: *topology(t, c).Leader})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	begin := time.Now()
	wantIs(t, lock.Release(t.Context()), dcs.ErrUnavailable)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Release took %s", took)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Errorf("Release tried again: %v", err)
	}
	if _, held, err := c.Holder(t.Context(), "n1"); held || err != nil {
		t.Errorf("held %v, error %v", held, err)
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	for _, test := range []struct {
		name     string
		begin    func(*dcstest.Server)
		end      func(*dcstest.Server) error
		outage   time.Duration
		wantLost bool
	}{
		{name: "short stop", begin: (*dcstest.Server).Stop, end: (*dcstest.Server).Restart, outage: 700 * time.Millisecond},
		{name: "short stall", begin: (*dcstest.Server).Stall, end: resumed, outage: 800 * time.Millisecond},
		{name: "long stop", begin: (*dcstest.Server).Stop, end: (*dcstest.Server).Restart, wantLost: true},
		{name: "long stall", begin: (*dcstest.Server).Stall, end: resumed, wantLost: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			lock := l.acquire(t, "n1", ttl)
			begin := time.Now()
			test.begin(l.server)
			if test.wantLost {
				wantIs(t, ends(t, lock.Context(), ttl), dcs.ErrLockLost)
				// Not before the first keep-alive is due, and not after etcd
				// may have given the lock to somebody else.
				if took := time.Since(begin); took < ttl/3 || took > ttl {
					t.Errorf("lost after %s", took)
				}
				wantIs(t, lock.Check(t.Context()), dcs.ErrLockLost)
			} else {
				goesOn(t, lock.Context(), test.outage)
			}
			if err := test.end(l.server); err != nil {
				t.Fatal(err)
			}
			if !test.wantLost {
				goesOn(t, lock.Context(), ttl+ttl/2)
				if err := lock.Check(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if err := lock.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// With authentication etcd forgets, at its restart, the tokens that it has given
// out. The lock is kept, and read and taken again, all the same.
func TestRestartWithAuthentication(t *testing.T) {
	t.Parallel()
	const ttl = 4 * time.Second
	s := dcstest.Start(t, dcstest.WithAuth("root-pw"))
	dcstest.MustPutCluster(t, s.AdminClient(t), twoNodes())
	grants := dcstest.Grants{Read: []string{"/service/lab/"}, ReadWrite: []string{"/failback/lab/"}}
	if err := s.AddUser(t.Context(), "failback", "s3cret-pw", grants); err != nil {
		t.Fatal(err)
	}
	cfg := configFor(s)
	cfg.Username, cfg.Password = "failback", "s3cret-pw"
	c := open(t, cfg)
	req := dcs.LockRequest{Member: "n1", Operation: "rejoin", Leader: *topology(t, c).Leader, TTL: ttl}
	lock, err := c.Acquire(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	goesOn(t, lock.Context(), ttl+ttl/2)
	if err := lock.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
	again, err := c.Acquire(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func resumed(s *dcstest.Server) error {
	s.Resume()
	return nil
}

// The history in which the leader changed is compacted away while we are cut
// off: the watch cannot simply go on.
func TestLeaderChangeDuringOutageIsSeen(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	inside := s.Inside(t)
	cluster := dcstest.MustPutCluster(t, inside, twoNodes())
	c := open(t, configFor(s))
	lock, err := c.Acquire(t.Context(), dcs.LockRequest{Member: "n1", Leader: *topology(t, c).Leader, TTL: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.Cut()
	if err := cluster.SetLeader(t.Context(), "n3"); err != nil {
		t.Fatal(err)
	}
	resp, err := inside.Put(t.Context(), "/unrelated", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Compact(t.Context(), resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	goesOn(t, lock.Context(), 200*time.Millisecond) // it cannot know yet
	s.Reconnect()
	wantIs(t, ends(t, lock.Context(), 10*time.Second), dcs.ErrLeaderChanged)
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// The guarantee of the margin: when etcd lets go of the key, the holder has
// been told already.
func TestHolderKnowsBeforeTheKeyIsFree(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	inside := s.Inside(t)
	dcstest.MustPutCluster(t, inside, twoNodes())
	c := open(t, configFor(s))
	lock, err := c.Acquire(t.Context(), dcs.LockRequest{Member: "n1", Leader: *topology(t, c).Leader, TTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	gone := inside.Watch(t.Context(), "/failback/lab/nodes/n1")
	goesOn(t, lock.Context(), time.Second) // some keep-alives
	s.Stall()
	select {
	case <-gone:
		wantIs(t, context.Cause(lock.Context()), dcs.ErrLockLost)
	case <-time.After(20 * time.Second):
		t.Fatal("the lease did not run out")
	}
	s.Resume()
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWatchLeader(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan dcs.LeaderEvent)
	done := make(chan error, 1)
	go func() {
		done <- l.client.WatchLeader(ctx, 0, func(e dcs.LeaderEvent) error { events <- e; return nil })
	}()
	var got []string
	next := func() {
		t.Helper()
		select {
		case e := <-events:
			if e.Leader == nil {
				got = append(got, "nobody")
			} else {
				got = append(got, e.Leader.Name)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no event after %v", got)
		}
	}
	next()
	if err := l.cluster.SetLeader(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	next()
	next()
	if diff := cmp.Diff([]string{"n2", "nobody", "n1"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	cancel()
	wantIs(t, <-done, context.Canceled)
	stop := errors.New("stop")
	wantIs(t, l.client.WatchLeader(t.Context(), 0, func(dcs.LeaderEvent) error { return stop }), stop)
}
