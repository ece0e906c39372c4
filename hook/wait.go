package hook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/dcs"
)

// Waiting is a wait for something that may pass by itself, as it is now.
type Waiting struct {
	// For names what is waited for, Why what is the matter with it; both short.
	For, Why string
	// Elapsed of Limit have gone by because of it.
	Elapsed, Limit time.Duration
	// Total is for how long this has been waited for altogether, where only a
	// part of that uses up the limit: a queue that moves uses up nothing.
	Total time.Duration
}

// String is one line: "waiting for the leader n2 (connection refused), 12 s of 5 min".
func (w Waiting) String() string {
	if w.Total > 0 {
		return fmt.Sprintf("waiting for %s (%s), for %s", w.For, w.Why, spoken(w.Total))
	}
	return fmt.Sprintf("waiting for %s (%s), %s of %s", w.For, w.Why, spoken(w.Elapsed), spoken(w.Limit))
}

// spoken prints a duration in whole seconds as people write it.
func spoken(d time.Duration) string {
	d = d.Round(time.Second)
	minutes, seconds := d/time.Minute, (d%time.Minute)/time.Second
	switch {
	case minutes == 0:
		return fmt.Sprintf("%d s", seconds)
	case seconds == 0:
		return fmt.Sprintf("%d min", minutes)
	}
	return fmt.Sprintf("%d min %d s", minutes, seconds)
}

// pauses are the bounds of the back-off between attempts.
type pauses struct{ first, longest time.Duration }

// standardPauses: an attempt costs etcd one read and the leader one connection,
// and a leader that is back should not wait long for being noticed.
func standardPauses() pauses { return pauses{first: 500 * time.Millisecond, longest: 5 * time.Second} }

// backOff makes the growing, jittered pauses of one kind of trouble.
func (p pauses) backOff() backoff.BackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: p.first, Multiplier: 2, RandomizationFactor: 0.3, MaxInterval: p.longest,
	}
}

// waitTick is how often a wait is told of while it lasts.
const waitTick = time.Second

// patience is what a run has used up of it, by kind of trouble.
type patience struct {
	limit   time.Duration
	pauses  pauses
	kinds   map[obstacle]*spent
	current *spent // nil when there is no trouble
}

// spent is the patience used up by one kind of trouble. It is never given back
// during a run: a leader that breaks down each time this node copies from it is
// not broken down for ever.
type spent struct {
	tries   int
	waited  time.Duration
	backOff backoff.BackOff
	// what is waited for, as in the log; met is how much had been waited when
	// the present trouble began.
	what Waiting
	met  time.Duration
}

// of returns what is spent on a kind.
func (p *patience) of(kind obstacle) *spent {
	if p.kinds == nil {
		p.kinds = map[obstacle]*spent{}
	}
	u := p.kinds[kind]
	if u == nil {
		u = &spent{backOff: p.pauses.backOff()}
		p.kinds[kind] = u
	}
	return u
}

// waitOut decides about another attempt after one that failed, and waits for
// its time. idle is how long the failed attempt took if it only found that
// there is trouble; the time of real work is not counted as waiting. It returns
// nil when there is to be another attempt, and otherwise the error to end with.
func (r *run) waitOut(ctx context.Context, failed error, idle time.Duration) error {
	u := r.patience.of(obstacleOf(failed))
	if r.patience.current == u {
		u.waited += idle // from the first failure on; before it nobody waited
	}
	a := afterSetback(setback{
		err: failed, ended: context.Cause(ctx), tries: u.tries, waited: u.waited, limit: r.patience.limit, pause: u.backOff.NextBackOff(),
	})
	r.log.Debug("attempt failed", zap.Error(failed), zap.String("then", string(a.act)), zap.String("reason", a.reason),
		zap.Duration("pause", a.pause), zap.Duration("waited", u.waited))
	switch a.act {
	case giveUp:
		return r.gaveUp(failed, u, a)
	case decideAnew:
		u.tries++
		r.log.Warn("what was decided on has ended: deciding anew", zap.Error(failed))
		return nil
	}
	r.meet(u, a.kind, failed)
	u.tries++
	err := r.pause(ctx, u, a.pause)
	u.waited += a.pause
	if err != nil {
		return r.gaveUp(failed, u, answer{})
	}
	return nil
}

// gaveUp adds to the error how long was waited, where anybody waited.
func (r *run) gaveUp(failed error, u *spent, a answer) error {
	if a.kind != obstacleNone && u.waited > 0 {
		return fmt.Errorf("%w (waited %s for it)", failed, spoken(u.waited))
	}
	return failed
}

// meet notes a trouble, and logs it when it is another one than before.
func (r *run) meet(u *spent, kind obstacle, failed error) {
	what := Waiting{For: r.nameOf(kind), Why: r.whyOf(failed), Limit: r.patience.limit, Elapsed: u.waited}
	if r.patience.current != u {
		r.overcome()
		u.met = u.waited
		r.log.Warn("waiting for "+what.For, zap.Error(failed), zap.Duration("at_most", what.Limit-u.waited))
	}
	u.what = what
	r.patience.current = u
}

// overcome notes that there is no trouble any more.
func (r *run) overcome() {
	u := r.patience.current
	r.patience.current = nil
	if u == nil {
		return
	}
	r.warn("waited %s for %s (%s)", spoken(u.waited-u.met), u.what.For, u.what.Why)
}

// nameOf is what is waited for, with its name where that is known.
func (r *run) nameOf(kind obstacle) string {
	if kind == obstacleLeader && r.report.Leader != "" {
		return string(kind) + " " + r.report.Leader
	}
	return string(kind)
}

// whyOf is the decision's reason where a decision was the failure, and
// otherwise the heart of the error.
func (r *run) whyOf(failed error) string {
	if d := r.report.Decision; d.Verb == VerbWait && errors.Is(failed, d.Err) {
		return d.Reason
	}
	var held *dcs.LockedError
	if errors.As(failed, &held) {
		return fmt.Sprintf("%s has it for %s", held.Owner.Member, held.Owner.Operation)
	}
	return Briefly(failed)
}

// pause lets time pass and tells of it every second.
func (r *run) pause(ctx context.Context, u *spent, d time.Duration) error {
	begun, end := time.Now(), time.Now().Add(d)
	for {
		w := u.what
		w.Elapsed = u.waited + time.Since(begun)
		r.tellWait(w)
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, min(left, waitTick)); err != nil {
			return err
		}
	}
}

func (r *run) tellWait(w Waiting) {
	if r.h.OnWait != nil {
		r.h.OnWait(w)
	}
}
