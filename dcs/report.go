package dcs

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// stillEvery is how often a holder that gets no further says so.
const stillEvery = 10 * time.Second

// reported is what Lock.Report was told last.
type reported struct {
	mu       sync.Mutex
	progress *Progress
	moved    time.Time
}

// Report notes how far the work is. It returns at once and may be called from
// any goroutine, as often as it likes: the record in etcd follows in its own
// time. Still is counted here, whatever p says.
func (l *Lock) Report(p Progress) {
	l.told.mu.Lock()
	defer l.told.mu.Unlock()
	if l.told.progress == nil || p.moved(*l.told.progress) {
		l.told.moved = time.Now()
	}
	l.told.progress = &p
}

// latest is what there is to publish now.
func (r *reported) latest(now time.Time) (Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress == nil {
		return Progress{}, false
	}
	p := *r.progress
	p.Still = int64(now.Sub(r.moved) / time.Second)
	return p, true
}

// due tells whether p is worth a write, after last was written.
func (p Progress) due(last *Progress) bool {
	if last == nil || p.moved(*last) || p.Total != last.Total {
		return true
	}
	return time.Duration(p.Still-last.Still)*time.Second >= stillEvery
}

// publish keeps the record in the node key up to date, in a transaction that
// holds only while both keys are ours. One that is not made is made the next
// time; that the lock is lost is for others to notice.
func (l *Lock) publish(ctx context.Context, owner Owner, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last *Progress
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p, ok := l.told.latest(time.Now())
		if !ok || !p.due(last) {
			continue
		}
		owner.Progress = &p
		record, err := json.Marshal(owner)
		if err != nil {
			return fmt.Errorf("write record: %w", err)
		}
		wctx, cancel := context.WithTimeout(ctx, l.client.cfg.RequestTimeout)
		a, err := l.client.commit(wctx, l.keys.update(l.token, int64(l.lease), string(record)))
		cancel()
		if err == nil && a.held {
			last = &p
		}
	}
}
