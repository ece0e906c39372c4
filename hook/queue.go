package hook

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// inQueue is told how things stand while this node waits in the queue.
//
// Waiting there is no trouble as long as it moves: five nodes that take an hour
// each let the sixth wait for five. So patience is only used up while nothing
// moves, neither in the queue nor in the work of those who hold the lock.
func (r *run) inQueue(begun time.Time) func(dcs.Queued) error {
	return func(q dcs.Queued) error {
		r.queued = time.Since(begun)
		if r.queue == nil {
			r.log.Warn("waiting in the queue", zap.Int("place", q.Place), zap.Int("of", q.Of), zap.String("at_work", atWork(q)))
		}
		r.queue = &q
		r.tellWait(Waiting{For: queuePlace(q), Why: atWork(q), Elapsed: q.Still, Limit: r.cfg.Wait, Total: r.queued})
		if q.Still < r.cfg.Wait {
			return nil
		}
		r.patience.of(obstacleLocked).waited = r.patience.limit // all of it
		return stuckQueue(q)
	}
}

// stuckQueue says who it is that does not move.
func stuckQueue(q dcs.Queued) error {
	if len(q.Holders) == 0 {
		return fmt.Errorf("%w: nothing has moved in the queue for %s, and nobody is at work", dcs.ErrLocked, spoken(q.Still))
	}
	var errs []error
	for _, h := range q.Holders {
		errs = append(errs, &dcs.LockedError{Key: "of node " + h.Member, Owner: h})
	}
	return errors.Join(errs...)
}

// leaveQueue notes in the report that there was a wait.
func (r *run) leaveQueue() {
	if r.queue != nil {
		r.warn("waited %s in the queue", spoken(r.queued))
	}
}

// queuePlace is "place 2 of 3 in the queue".
func queuePlace(q dcs.Queued) string {
	return fmt.Sprintf("the lock, place %d of %d in the queue", q.Place, q.Of)
}

// atWork says who is at work and how far.
func atWork(q dcs.Queued) string {
	if len(q.Holders) == 0 {
		return "nobody is at work"
	}
	text := ""
	for _, h := range q.Holders {
		if text != "" {
			text += "; "
		}
		text += h.Member + " is at work"
		if h.Progress != nil {
			text += ": " + h.Progress.String()
		}
	}
	return text
}

// telling passes what the work tells of itself on to the lock that it is done
// under. Events come from the engine's goroutines.
type telling struct {
	mu   sync.Mutex
	lock Lock
}

func (t *telling) begin(lock Lock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lock = lock
}

func (t *telling) end() { t.begin(nil) }

func (t *telling) report(p dcs.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lock != nil {
		t.lock.Report(p)
	}
}

// event passes an event of the engine's on, to the lock and to who shows it.
func (r *run) event(e rewind.Event) {
	switch e := e.(type) {
	case rewind.PhaseStarted:
		r.telling.report(dcs.Progress{Phase: string(e.Phase), Total: e.Total})
	case rewind.Progress:
		r.telling.report(dcs.Progress{Phase: string(e.Phase), Done: e.Done, Total: e.Total})
	}
	if r.h.OnEvent != nil {
		r.h.OnEvent(e)
	}
}
