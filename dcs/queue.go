package dcs

import (
	"context"
	"fmt"
	"slices"
	"time"
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
	// watch is on our keys and the leader key; nil before the first look.
	watch *changes
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
	if l.watch == nil {
		l.watch = p.client.watchChanges(ctx, revision, keyRange{key: p.claim.keys.leader}, under(p.client.cfg.lockRoot()))
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
		case <-l.watch.changed:
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

// leave ends the watching.
func (l *line) leave() {
	if l.watch != nil {
		l.watch.end()
	}
}
