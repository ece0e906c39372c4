package dcs

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Queued is how things stand for one who waits in the queue.
type Queued struct {
	// Place is our number in the queue, from 1; Of is how many wait.
	Place, Of int
	// Holders are at work now, with their progress.
	Holders []Owner
	// Still is for how long nothing of this has moved, as seen from here: no
	// holder got further, and nobody came or went. One who hangs keeps its lock
	// while its lease lives; how long to wait for that is for the waiter to say.
	Still time.Duration
}

// How often one who waits is told, and the pause between two looks at etcd: a
// holder's progress is no reason to ask at every step of it.
// Without any change it is asked anyway now and then, should a watch be silent.
const (
	queueTick    = time.Second
	queuePause   = 100 * time.Millisecond
	queueAtLeast = 10 * time.Second
)

// line is a wait in the queue.
type line struct {
	// changed receives when anything in our keys or the leader key has changed.
	changed  chan struct{}
	stop     context.CancelFunc
	watching *errgroup.Group

	now   Queued
	tell  func(Queued) error
	moved time.Time
	// looked is when the queue was read last.
	looked time.Time
}

// look notes what was seen at a revision, tells of it, and begins to watch for
// changes after it when this is the first time.
func (l *line) look(ctx context.Context, p *pursuit, seen observed, revision int64) error {
	now := Queued{Place: p.claim.position(seen), Of: len(seen.queue), Holders: p.claim.keys.holders(seen, p.claim.limit)}
	if l.moved.IsZero() || now.movedSince(l.now) {
		l.moved = time.Now()
	}
	l.now, l.tell, l.looked = now, p.req.Wait, time.Now()
	if l.changed == nil {
		l.watch(ctx, p.client, p.claim.keys.leader, revision)
	}
	return l.say()
}

// movedSince tells whether anybody got further, came or went.
func (q Queued) movedSince(o Queued) bool {
	return q.Place != o.Place || q.Of != o.Of || !slices.EqualFunc(q.Holders, o.Holders, func(a, b Owner) bool {
		if a.Member != b.Member || !a.Since.Equal(b.Since) || (a.Progress == nil) != (b.Progress == nil) {
			return false
		}
		return a.Progress == nil || !a.Progress.moved(*b.Progress)
	})
}

// say tells how things stand now.
func (l *line) say() error {
	q := l.now
	q.Still = time.Since(l.moved)
	if err := l.tell(q); err != nil {
		return fmt.Errorf("wait in the queue: %w", err)
	}
	return nil
}

// wait returns nil when it is time to look again. ctx ends with the lease.
func (l *line) wait(ctx context.Context) error {
	tick := time.NewTicker(queueTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait in the queue: %w", context.Cause(ctx))
		case <-l.changed:
			if !sleepUntil(ctx, l.looked.Add(queuePause)) {
				return fmt.Errorf("wait in the queue: %w", context.Cause(ctx))
			}
			return nil
		case <-tick.C:
			if time.Since(l.looked) >= queueAtLeast {
				return nil
			}
			if err := l.say(); err != nil {
				return err
			}
		}
	}
}

// watch follows the leader key and our own keys after a revision. What has
// changed is found out by looking, so an event is but a reason to look.
func (l *line) watch(ctx context.Context, c *Client, leader string, from int64) {
	ctx, l.stop = context.WithCancel(ctx)
	l.changed, l.watching = make(chan struct{}, 1), new(errgroup.Group)
	signal := func() {
		select {
		case l.changed <- struct{}{}:
		default: // somebody has said so already
		}
	}
	for _, r := range []keyRange{{key: leader}, under(c.cfg.lockRoot())} {
		w := watched{key: r.key, from: from,
			on: func(*clientv3.Event) error { signal(); return nil },
			resync: func(ctx context.Context) (int64, error) {
				a, err := c.read(ctx, "read leader", txn{reads: []keyRange{{key: leader}}})
				signal()
				return a.revision, err
			}}
		if r.end != "" {
			w.opts = []clientv3.OpOption{clientv3.WithRange(r.end)}
		}
		l.watching.Go(func() error {
			err := c.follow(ctx, w)
			signal() // an error shows in the look that follows
			return err
		})
	}
}

// leave ends the watching.
func (l *line) leave() {
	if l.stop != nil {
		l.stop()
		_ = l.watching.Wait() // what mattered was seen by looking
	}
}
