package dcs

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// watchPause is waited before a watch that ended is begun again.
const watchPause = 200 * time.Millisecond

// LeaderEvent is the state of the leader key at a revision; Leader is nil when
// nobody holds it.
type LeaderEvent struct {
	Leader   *Leader
	Revision int64
}

// WatchLeader calls on for every change of the leader key after revision from,
// beginning with its present state when from is zero, and again with the
// present state whenever changes may have been missed (etcd compacted them
// away, or the member asked was cut off from its cluster). It returns what on
// returns if that is an error, the cause of ctx when that ends, or why the key
// cannot be watched; an etcd that cannot be reached is waited for.
func (c *Client) WatchLeader(ctx context.Context, from int64, on func(LeaderEvent) error) error {
	key := c.prefix + "leader"
	read := func(ctx context.Context) (int64, error) {
		resp, err := retry(ctx, c, "read leader", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return c.etcd.Get(ctx, key)
		})
		if err != nil {
			return 0, err
		}
		e := LeaderEvent{Revision: resp.Header.Revision}
		for _, kv := range resp.Kvs {
			e.Leader = &Leader{Name: string(kv.Value), CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease}
		}
		return e.Revision, on(e)
	}
	return c.follow(ctx, watched{key: key, from: from, resync: read, on: func(ev *clientv3.Event) error {
		return on(LeaderEvent{Leader: leaderOf(ev), Revision: ev.Kv.ModRevision})
	}})
}

// leaderOf reads an event of the leader key.
func leaderOf(ev *clientv3.Event) *Leader {
	if ev.Type == clientv3.EventTypeDelete {
		return nil
	}
	return &Leader{Name: string(ev.Kv.Value), CreateRevision: ev.Kv.CreateRevision, ModRevision: ev.Kv.ModRevision, Lease: ev.Kv.Lease}
}

// watched is a key, or a range of them, and what to do about it.
type watched struct {
	key  string
	opts []clientv3.OpOption
	// from is the last revision whose state is known; zero for none.
	from int64
	// on is called for each event.
	on func(*clientv3.Event) error
	// resync looks at the state when events may have been missed, and returns
	// the revision it saw.
	resync func(context.Context) (int64, error)
}

// follow delivers events until ctx ends or a function returns an error, other
// than ErrUnavailable from resync, which is tried again.
func (c *Client) follow(ctx context.Context, w watched) error {
	for {
		if w.from > 0 {
			if err := c.stream(ctx, &w); err != nil {
				return err
			}
			if !sleepUntil(ctx, time.Now().Add(watchPause)) {
				return context.Cause(ctx)
			}
		}
		revision, err := w.resync(ctx)
		switch {
		case err == nil:
			w.from = revision
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrUnavailable):
			if w.from == 0 && !sleepUntil(ctx, time.Now().Add(watchPause)) {
				return context.Cause(ctx)
			}
		default:
			return fmt.Errorf("watch %s: %w", w.key, err)
		}
	}
}

// stream runs one watch until it breaks, then it returns nil; an error is one
// of on's. A member that is cut off from the others would be silent for ever,
// hence WithRequireLeader.
func (c *Client) stream(ctx context.Context, w *watched) error {
	wctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	opts := append([]clientv3.OpOption{clientv3.WithRev(w.from + 1)}, w.opts...)
	for resp := range c.etcd.Watch(wctx, w.key, opts...) {
		if resp.Err() != nil {
			return nil
		}
		for _, ev := range resp.Events {
			if err := w.on(ev); err != nil {
				return err
			}
			w.from = ev.Kv.ModRevision
		}
	}
	return nil
}

// changes tells that something has changed in ranges of keys. What has changed is
// found out by looking, so an event is but a reason to look.
type changes struct {
	changed  chan struct{}
	stop     context.CancelFunc
	watching *errgroup.Group
}

// watchChanges follows ranges of keys after a revision, until end.
func (c *Client) watchChanges(ctx context.Context, from int64, ranges ...keyRange) *changes {
	w := &changes{changed: make(chan struct{}, 1), watching: new(errgroup.Group)}
	ctx, w.stop = context.WithCancel(ctx)
	for _, r := range ranges {
		follow := watched{key: r.key, from: from,
			on: func(*clientv3.Event) error { w.signal(); return nil },
			resync: func(ctx context.Context) (int64, error) {
				a, err := c.read(ctx, "watch keys", txn{reads: []keyRange{{key: r.key}}})
				w.signal()
				return a.revision, err
			}}
		if r.end != "" {
			follow.opts = []clientv3.OpOption{clientv3.WithRange(r.end)}
		}
		w.watching.Go(func() error {
			err := c.follow(ctx, follow)
			w.signal() // an error shows in the look that follows
			return err
		})
	}
	return w
}

func (w *changes) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // it was said already, and nobody has looked since
	}
}

// end ends the watching.
func (w *changes) end() {
	w.stop()
	_ = w.watching.Wait() // what mattered was seen by looking
}
