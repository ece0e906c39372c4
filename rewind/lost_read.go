package rewind

import (
	"context"
	"errors"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// LostBranch is the answer to the question what only one node has.
type LostBranch struct {
	SystemID pg.SystemID `json:"system_id"`
	Major    pg.Major    `json:"major"`
	// Target is the node that has it, Source the one that has not; of a Source
	// that is not asked (ReadSalvage) nothing is known.
	Target Side  `json:"target"`
	Source *Side `json:"source,omitempty"`
	// Fork is where the two histories part; its LSN is pg.MaxLSN when they are equal.
	Fork pg.Fork `json:"fork"`
	// Resumed: a rewind was begun and interrupted; the answer is about the node
	// as it was before.
	Resumed  bool     `json:"resumed,omitempty"`
	Lost     Lost     `json:"lost"`
	Warnings []string `json:"warnings,omitempty"`
}

// Lost tells what only the target has. It writes nothing, and looks at a
// directory whose server runs as well. It asks less than Plan does: whether the
// target could be rewound does not matter, and where the WAL before the fork is
// gone, that behind it is enough.
func (e *Engine) Lost(ctx context.Context) (b *LostBranch, err error) {
	t, err := e.open()
	if err != nil {
		return nil, err
	}
	defer closing(&err, t.close)
	pl := &planner{engine: e, run: e.newRun(), t: t, p: &Plan{Format: PlanFormat}, countOnly: true}
	for _, step := range []func(context.Context) error{pl.inspect, pl.countBranch} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	pl.run.finish()
	p := pl.p
	return &LostBranch{
		SystemID: p.SystemID, Major: p.Major, Target: p.Target, Source: &p.Source, Fork: p.Fork,
		Resumed: p.Resumed, Lost: p.Lost, Warnings: p.Warnings,
	}, nil
}

// countBranch counts, from farther back where the two nodes part earlier than
// their histories say.
func (pl *planner) countBranch(ctx context.Context) error {
	for {
		if err := pl.countLost(ctx); err != nil {
			return err
		}
		if err := pl.askAgain(ctx); err != nil {
			return err
		}
		earlier, err := pl.compareBranches(ctx)
		if err != nil || earlier == nil {
			return err
		}
		pl.p.Fork = *earlier
	}
}

// countLost reads the WAL. The farther back it begins the more names it learns:
// the first change of a page after a redo position comes with the whole page.
// Behind the fork everything can be counted, without.
func (pl *planner) countLost(ctx context.Context) error {
	pl.run.begin(PhaseScanWAL, 0)
	s := pl.scanner()
	starts, err := pl.countFrom(ctx)
	for _, from := range starts {
		err = s.scan(ctx, from)
		if err == nil && s.out.last != 0 || err != nil && !errors.Is(err, ErrTargetWAL) {
			break
		}
	}
	if err != nil {
		return err
	}
	s.out.lost = s.lost.result(s.out.end)
	pl.changes = &s.out
	pl.p.Target.EndOfWAL, pl.p.Lost = s.out.end, s.out.lost
	return nil
}

// askAgain asks the source for its end of WAL: a standby that streams had received
// more by the time it was read than the source had written when it was asked first.
func (pl *planner) askAgain(ctx context.Context) (err error) {
	if pl.state, err = pl.engine.Source.State(ctx); err == nil {
		pl.p.Source.EndOfWAL = sourceEnd(pl.state, pl.source.control)
	}
	return err
}

// countFrom are the positions from which reading may begin, the best first.
func (pl *planner) countFrom(ctx context.Context) (starts []pg.LSN, err error) {
	fork := pl.p.Fork.LSN
	r := newWALReader(pl.t, pl.target)
	defer closing(&err, r.Close)
	pl.common, err = findCheckpoint(ctx, r, pl.target, fork)
	switch {
	case err == nil:
		starts = append(starts, pl.common.Redo, pl.common.LSN)
	case !errors.Is(err, ErrTargetWAL) || fork == pg.MaxLSN:
		return nil, err
	default:
		pl.common.LSN = fork
		pl.warn("the WAL before the fork is gone: what open transactions had written before it is not counted, and fewer names are known")
	}
	if fork != pg.MaxLSN {
		starts = append(starts, fork)
	}
	return starts, nil
}

// countRecords feeds a counter from one position to the end of the WAL, and
// gives the end.
func countRecords(ctx context.Context, r *pgwal.Reader, l *lostCounter, from pg.LSN) (pg.LSN, *pgwal.EndError, error) {
	if err := r.Seek(from); err != nil {
		return 0, nil, &Error{Op: "read WAL", LSN: from, Err: err}
	}
	at := from
	for {
		rec, err := r.Next(ctx)
		var end *pgwal.EndError
		if errors.As(err, &end) {
			return at, end, nil
		}
		if err != nil {
			return at, nil, &Error{Op: "read WAL", LSN: at, Err: err}
		}
		changed, _ := pgwal.FileChanges(rec) // what is not known there is counted as a record
		l.add(rec, changed)
		at = rec.End
	}
}
