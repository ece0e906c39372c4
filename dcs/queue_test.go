package dcs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/dcs/dcstest"
)

// waiter is an Acquire that waits in the queue.
type waiter struct {
	told chan dcs.Queued
	done chan result
}

type result struct {
	lock *dcs.Lock
	err  error
}

// waits begins to wait for the lock of a member.
func (l lab) waits(ctx context.Context, req dcs.LockRequest) waiter {
	w := waiter{told: make(chan dcs.Queued, 1000), done: make(chan result, 1)}
	req.Wait = func(q dcs.Queued) error { w.told <- q; return nil }
	go func() {
		lock, err := l.client.Acquire(ctx, req)
		w.done <- result{lock, err}
	}()
	return w
}

// until returns the first thing that a waiter is told for which ok holds.
func (w waiter) until(t *testing.T, what string, ok func(dcs.Queued) bool) dcs.Queued {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case q := <-w.told:
			if ok(q) {
				return q
			}
		case r := <-w.done:
			t.Fatalf("the waiting ended before %s: %+v", what, r)
		case <-timeout:
			t.Fatalf("never told: %s", what)
		}
	}
}

func (w waiter) queued(t *testing.T, place int) {
	t.Helper()
	w.until(t, "its place", func(q dcs.Queued) bool { return q.Place == place })
}

// got is how the waiting ended.
func (w waiter) got(t *testing.T) *dcs.Lock {
	t.Helper()
	select {
	case r := <-w.done:
		if r.err != nil {
			t.Fatal(r.err)
		}
		t.Cleanup(func() { _ = r.lock.Release(context.Background()) })
		return r.lock
	case <-time.After(20 * time.Second):
		t.Fatal("the lock was not had")
		return nil
	}
}

func (w waiter) failed(t *testing.T) error {
	t.Helper()
	select {
	case r := <-w.done:
		if r.err == nil {
			t.Fatal("it has the lock")
		}
		return r.err
	case <-time.After(20 * time.Second):
		t.Fatal("the waiting did not end")
		return nil
	}
}

func (w waiter) stillWaits(t *testing.T) {
	t.Helper()
	select {
	case r := <-w.done:
		t.Fatalf("the waiting ended: %+v", r)
	default:
	}
}

func mustRelease(t *testing.T, lock *dcs.Lock) {
	t.Helper()
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Five standbys and an old primary: two at a time, and in the order in which
// they came.
func TestQueueInOrder(t *testing.T) {
	l := newLab(t)
	request := func(member string) dcs.LockRequest {
		req := l.request(member, 30*time.Second)
		req.Limit = 2
		return req
	}
	names := []string{"a", "b", "f", "e", "d", "c"} // not that of the alphabet
	var running []*dcs.Lock
	for _, name := range names[:2] {
		running = append(running, l.waits(t.Context(), request(name)).got(t))
	}
	var queue []waiter
	for i, name := range names[2:] {
		w := l.waits(t.Context(), request(name))
		w.queued(t, i+1)
		queue = append(queue, w)
	}
	// Who does not wait is refused, also when a place is free.
	if _, err := l.client.Acquire(t.Context(), request("g")); !errors.Is(err, dcs.ErrLocked) {
		t.Errorf("one who does not wait: %v", err)
	}
	for len(queue) > 0 {
		mustRelease(t, running[0])
		running = append(running[1:], queue[0].got(t))
		for i, w := range queue[1:] {
			w.queued(t, i+1)
		}
		queue = queue[1:]
		if owners, err := l.client.Locks(t.Context()); err != nil || len(owners) != 2 {
			t.Fatalf("%d at work, error %v", len(owners), err)
		}
	}
	var tokens []int64
	for _, lock := range running {
		tokens = append(tokens, lock.Token())
		mustRelease(t, lock)
	}
	if len(tokens) != 2 || tokens[0] >= tokens[1] {
		t.Errorf("tokens of the last two: %v", tokens)
	}
	l.wantNothingLeft(t)
}

func TestWaiterWhoDoesNotWaitRespectsTheQueue(t *testing.T) {
	l := newLab(t)
	// A place in the queue whose owner does not come: nobody overtakes it.
	grant, err := l.admin.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.admin.Put(t.Context(), "/failback/lab/queue/n2/n9", `{"member":"n9"}`, clientv3.WithLease(grant.ID)); err != nil {
		t.Fatal(err)
	}
	var locked *dcs.LockedError
	_, err = l.client.Acquire(t.Context(), l.request("n1", 30*time.Second))
	if !errors.As(err, &locked) || !locked.Waits || locked.Owner.Member != "n9" {
		t.Fatalf("got %v", err)
	}
	w := l.waits(t.Context(), l.request("n1", 30*time.Second))
	w.queued(t, 2)
	w.stillWaits(t)
	if _, err := l.admin.Revoke(t.Context(), grant.ID); err != nil { // it dies
		t.Fatal(err)
	}
	mustRelease(t, w.got(t))
	l.wantNothingLeft(t)
}

func TestWaiterLeaves(t *testing.T) {
	l := newLab(t)
	lock := l.acquire(t, "n1", 30*time.Second)
	for name, leave := range map[string]func(context.CancelCauseFunc, *error){
		"told to end": func(cancel context.CancelCauseFunc, want *error) { *want = errors.New("signal"); cancel(*want) },
		"the leader goes": func(_ context.CancelCauseFunc, want *error) {
			*want = dcs.ErrLeaderChanged
			_ = l.cluster.SetLeader(context.Background(), "n2")
		},
	} {
		l.leader = *topology(t, l.client).Leader
		ctx, cancel := context.WithCancelCause(t.Context())
		req := l.request("n3", 30*time.Second)
		w := l.waits(ctx, req)
		w.queued(t, 1)
		var want error
		leave(cancel, &want)
		if err := w.failed(t); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if keys, leases := l.leftovers(t); len(keys) != 2 || leases != 1 {
			t.Errorf("%s: keys %v and %d leases, want those of the holder", name, keys, leases)
		}
		cancel(nil)
	}
	// And by what it is told.
	enough := errors.New("enough")
	req := l.request("n3", 30*time.Second)
	req.Leader = *topology(t, l.client).Leader
	req.Wait = func(dcs.Queued) error { return enough }
	if _, err := l.client.Acquire(t.Context(), req); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	_ = lock
}

// A second process of one node finds that the first one waits.
func TestQueueHasANodeOnce(t *testing.T) {
	l := newLab(t)
	lock := l.acquire(t, "n1", 30*time.Second)
	w := l.waits(t.Context(), l.request("n3", 30*time.Second))
	w.queued(t, 1)
	var locked *dcs.LockedError
	err := l.waits(t.Context(), l.request("n3", 30*time.Second)).failed(t)
	if !errors.As(err, &locked) || !locked.Waits || locked.Owner.Member != "n3" || !strings.Contains(err.Error(), "waits in the queue since") {
		t.Errorf("got %v", err)
	}
	freed := time.Now().Truncate(time.Millisecond)
	mustRelease(t, lock)
	got := w.got(t)
	// It is at work since then, and has waited before.
	if owner, held, err := l.client.Holder(t.Context(), "n3"); !held || err != nil || owner.Since.Before(freed) || !locked.Owner.Since.Before(owner.Since) {
		t.Errorf("waited since %s, freed at %s: %+v, %v", locked.Owner.Since, freed, owner, err)
	}
	mustRelease(t, got)
}

// A place that is deleted by hand is not taken again behind the back of who did
// it: the error says so, and the caller decides anew.
func TestPlaceTakenAway(t *testing.T) {
	l := newLab(t)
	l.acquire(t, "n1", 30*time.Second)
	w := l.waits(t.Context(), l.request("n3", 30*time.Second))
	w.queued(t, 1)
	if _, err := l.admin.Delete(t.Context(), "/failback/lab/queue/n2/n3"); err != nil {
		t.Fatal(err)
	}
	wantIs(t, w.failed(t), dcs.ErrLockLost)
}

// Etcd is away for less than the lease lives: the place in the queue is kept.
// The lock is freed meanwhile, and had afterwards.
func TestQueueOutage(t *testing.T) {
	t.Parallel()
	s := dcstest.Start(t)
	inside := s.Inside(t)
	dcstest.MustPutCluster(t, inside, twoNodes())
	cfg := configFor(s)
	cfg.RequestTimeout = time.Second
	l := lab{server: s, admin: inside, client: open(t, cfg)}
	l.leader = *topology(t, l.client).Leader
	l.acquire(t, "n1", 30*time.Second)
	w := l.waits(t.Context(), l.request("n3", 30*time.Second))
	w.queued(t, 1)
	s.Cut()
	for _, key := range []string{"nodes/n1", "leaders/n2/0"} {
		if _, err := inside.Delete(t.Context(), "/failback/lab/"+key); err != nil {
			t.Fatal(err)
		}
	}
	w.until(t, "a second of the outage", func(q dcs.Queued) bool { return q.Still > time.Second })
	s.Reconnect()
	w.got(t)
}

// A waiter whose lease ends leaves by itself, and knows it.
func TestQueueLeaseLost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.acquire(t, "n1", 60*time.Second)
	w := l.waits(t.Context(), l.request("n3", 2*time.Second))
	w.queued(t, 1)
	l.server.Stall()
	err := w.failed(t)
	l.server.Resume()
	wantIs(t, err, dcs.ErrLockLost)
}

func TestProgressIsSeen(t *testing.T) {
	l := newLab(t)
	req := l.request("n1", 30*time.Second)
	req.ProgressEvery = 20 * time.Millisecond
	lock, err := l.client.Acquire(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release(context.Background())
	w := l.waits(t.Context(), l.request("n3", 30*time.Second))
	w.queued(t, 1)
	for _, p := range []dcs.Progress{{Phase: "plan"}, {Phase: "copy", Done: 512, Total: 2048}, {Phase: "copy", Done: 1024, Total: 2048}} {
		lock.Report(p)
		q := w.until(t, p.String(), func(q dcs.Queued) bool {
			return len(q.Holders) == 1 && q.Holders[0].Progress != nil && *q.Holders[0].Progress == p
		})
		if q.Still > time.Second {
			t.Errorf("%s: nothing moved for %s", p, q.Still)
		}
	}
	// The lock is the same lock, and says how far it is to who is refused.
	if err := lock.Check(t.Context()); err != nil {
		t.Error(err)
	}
	goesOn(t, lock.Context(), 0)
	_, err = l.client.Acquire(t.Context(), l.request("n1", 30*time.Second))
	if err == nil || !strings.Contains(err.Error(), "copy, 1.0 KiB of 2.0 KiB (50 %)") {
		t.Errorf("a second command on the node: %v", err)
	}
	_, err = l.client.Acquire(t.Context(), l.request("n4", 30*time.Second))
	if err == nil || !strings.Contains(err.Error(), "copy, 1.0 KiB of 2.0 KiB (50 %)") {
		t.Errorf("a command on another node: %v", err)
	}
	owner, held, err := l.client.Holder(t.Context(), "n1")
	if want := (&dcs.Progress{Phase: "copy", Done: 1024, Total: 2048}); !held || err != nil || cmp.Diff(want, owner.Progress) != "" {
		t.Errorf("got %+v, %v, %v", owner, held, err)
	}
}

func TestProgressString(t *testing.T) {
	for want, p := range map[string]dcs.Progress{
		"plan":                                  {Phase: "plan"},
		"copy, 100 B":                           {Phase: "copy", Done: 100},
		"copy, 1.5 GiB of 3.0 GiB (50 %)":       {Phase: "copy", Done: 3 << 29, Total: 3 << 30},
		"copy, 8.0 EiB of 8.0 EiB (100 %)":      {Phase: "copy", Done: 1<<63 - 1, Total: 1<<63 - 1},
		"sync, no progress for 1m0s":            {Phase: "sync", Still: 60},
		"sync, 1.0 KiB of 1.0 KiB (100 %)":      {Phase: "sync", Done: 1024, Total: 1024, Still: 59},
		"sync, 2.0 KiB of 1.0 KiB (100 %)":      {Phase: "sync", Done: 2048, Total: 1024},
		"sync, 1.0 MiB, no progress for 1h0m0s": {Phase: "sync", Done: 1 << 20, Still: 3600},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
