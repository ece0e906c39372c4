package dcs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Lock is held until Release, or until Context says that it is lost. It is made
// by Client.Acquire.
type Lock struct {
	client *Client
	keys   lockKeys
	token  int64
	lease  clientv3.LeaseID
	leader Leader

	// ctx is the one thing that a lock hands out: it belongs to the lock's life
	// and not to a call, so it is kept here.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// inner is the life of the goroutines.
	inner   context.Context
	stop    context.CancelFunc
	running *errgroup.Group

	told reported

	release  sync.Mutex
	released bool
}

// newLock begins to keep a lease alive on which lock keys, or a place in the
// queue, are to be put.
//
// Its goroutines run until Release. They do not hang on the caller's ctx: a
// holder that was told to stop, or whose leader has changed, still has to bring
// its directory into order, and has to hold the lock while it does.
func (c *Client) newLock(ctx context.Context, granted lease) *Lock {
	l := &Lock{client: c, lease: granted.id, running: new(errgroup.Group)}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.inner, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.guard(func(ctx context.Context) error { return c.keepAlive(ctx, granted) })
	return l
}

// take notes that the keys are on the lease, and begins to watch over them and
// over the leader key, and to tell of progress.
func (l *Lock) take(c claim, owner Owner, every time.Duration) {
	l.keys, l.token, l.leader = c.keys, c.token, c.leader
	l.guard(l.watchLeader)
	l.guard(l.watchKeys)
	l.guard(func(ctx context.Context) error { return l.publish(ctx, owner, every) })
}

// guard runs what keeps the lock or watches over it; its error ends the lock's
// context.
func (l *Lock) guard(fn func(context.Context) error) {
	l.running.Go(func() error {
		if err := fn(l.inner); err != nil && l.inner.Err() == nil {
			l.cancel(asLoss(err))
		}
		return nil
	})
}

// asLoss makes an end of watching for any other reason a loss: a lock that
// nobody watches over protects nothing.
func asLoss(err error) error {
	if errors.Is(err, ErrLockLost) || errors.Is(err, ErrLeaderChanged) {
		return err
	}
	return fmt.Errorf("%w: it cannot be watched over: %w", ErrLockLost, err)
}

// Context is derived from the one given to Acquire. It ends with the cause
// ErrLockLost when the lock is gone or has to be counted as gone, and with the
// cause ErrLeaderChanged when the leader key no longer belongs to the term it
// was taken for. context.Cause tells which; the first one counts.
func (l *Lock) Context() context.Context { return l.ctx }

// Token is the create revision of the node key: it grows with every lock ever
// taken in this etcd and can be used to fence.
func (l *Lock) Token() int64 { return l.token }

// watchLeader ends with ErrLeaderChanged when the term ends.
func (l *Lock) watchLeader(ctx context.Context) error {
	return l.client.WatchLeader(ctx, l.token, func(e LeaderEvent) error {
		if e.Leader == nil || !e.Leader.Same(l.leader) {
			return leaderChanged(l.leader, e.Leader)
		}
		return nil
	})
}

// watchKeys ends with ErrLockLost when one of our keys is deleted or
// replaced.
func (l *Lock) watchKeys(ctx context.Context) error {
	return l.client.follow(ctx, watched{
		key: l.client.cfg.lockRoot(), opts: []clientv3.OpOption{clientv3.WithPrefix()}, from: l.token,
		on: func(ev *clientv3.Event) error {
			key := string(ev.Kv.Key)
			if key != l.keys.node && key != l.keys.slot {
				return nil
			}
			if ev.Type == clientv3.EventTypeDelete {
				return fmt.Errorf("%w: key %s was deleted", ErrLockLost, key)
			}
			if ev.Kv.CreateRevision != l.token || ev.Kv.Lease != int64(l.lease) {
				return fmt.Errorf("%w: key %s was overwritten", ErrLockLost, key)
			}
			return nil
		},
		resync: func(ctx context.Context) (int64, error) {
			return l.compare(ctx, txn{conds: l.keys.ours(l.token, int64(l.lease)), reads: l.keys.observe()})
		},
	})
}

// Check compares once more, in one transaction: the leader key is that of the
// term the lock was taken for, and both keys are ours. It is for the last
// moment before what cannot be taken back. The errors are ErrLockLost,
// ErrLeaderChanged, or why etcd could not be asked.
func (l *Lock) Check(ctx context.Context) error {
	if err := context.Cause(l.ctx); errors.Is(err, ErrLockLost) {
		return fmt.Errorf("check lock: %w", err)
	}
	_, err := l.compare(ctx, l.keys.check(l.leader, l.token, int64(l.lease)))
	return err
}

// compare commits a transaction that does nothing, and explains why it did not
// hold. It returns the revision at which it held.
func (l *Lock) compare(ctx context.Context, t txn) (int64, error) {
	const op = "check lock"
	a, err := l.client.read(ctx, op, t)
	if err != nil {
		return 0, err
	}
	if err := l.keys.verdict(a, l.leader, l.token, int64(l.lease)); err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	return a.revision, nil
}

// Release gives the lock back and ends its goroutines before it returns. It
// works, within RequestTimeout, also when ctx has ended, and may be called
// again: after a success it does nothing, after an error it tries once more. A
// lock that was lost before is no error. If etcd cannot be reached the keys
// vanish when the TTL is over.
func (l *Lock) Release(ctx context.Context) error {
	l.release.Lock()
	defer l.release.Unlock()
	if l.released {
		return nil
	}
	l.stop()
	_ = l.running.Wait() // the guards report through the cause of Context
	l.cancel(nil)
	if err := l.client.revoke(ctx, l.lease); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	l.released = true
	return nil
}
