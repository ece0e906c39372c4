package rewind

import (
	"context"
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// changes is what the target's WAL says of the target's files.
type changes struct {
	pages *pageMap
	lost  Lost
	// last and end are where the last valid record begins and ends; last is zero
	// when there was none.
	last, end pg.LSN
	// marks: index entries may have been marked dead without any trace.
	marks bool
	// gap: behind the end lies more WAL that nothing depends on.
	gap bool
	// copies: a database was being copied before the fork, which replay meets.
	copies bool
}

// scanner reads the target's WAL from the common checkpoint to its end.
type scanner struct {
	t    *target
	node node
	fork pg.LSN
	redo pg.LSN // of the common checkpoint
	// complete: the WAL must reach as far as the data files do.
	complete bool
	// countOnly: nothing will be rewound by what is found, so that records which
	// hide changes of files do not matter.
	countOnly bool
	progress  func(done int64)

	out        changes
	lost       *lostCounter
	hints      hintsKnown
	promotions promotions
}

// errScanFromRedo asks for the scan to begin again at the redo position.
var errScanFromRedo = errors.New("full page writes were off before the fork")

// run scans. Changes between the checkpoint and the fork are taken along with
// those behind it: replay restores them from full page images, and copying
// them as well costs little. Where full_page_writes was off there are no such
// images, and the scan begins at the redo position instead.
func (s *scanner) run(ctx context.Context, start commonCheckpoint, from pg.LSN) (*changes, error) {
	s.redo = start.Redo
	if !start.fullPageWrites {
		from = min(from, s.redo)
	}
	err := s.scan(ctx, from)
	if errors.Is(err, errScanFromRedo) {
		err = s.scan(ctx, s.redo)
	}
	if err != nil {
		return nil, err
	}
	s.out.lost = s.lost.result(s.out.end)
	s.promotions.end(pg.MaxLSN)
	s.out.marks = s.promotions.found
	return &s.out, nil
}

func (s *scanner) scan(ctx context.Context, from pg.LSN) error {
	s.out = changes{pages: newPageMap(), end: from}
	s.lost = newLostCounter(s.fork, s.node.control.Major())
	s.hints, s.promotions = hintsUnknown, promotions{fork: s.fork}
	r := newWALReader(s.t, s.node)
	defer r.Close()
	if err := r.Seek(from); err != nil {
		return &Error{Op: "read WAL", LSN: from, Err: err}
	}
	for {
		rec, err := r.Next(ctx)
		if err != nil {
			return s.checkEnd(ctx, err)
		}
		if err := s.record(ctx, rec, from); err != nil {
			return err
		}
		s.out.last, s.out.end = rec.LSN, rec.End
		s.progress(int64(rec.End - from))
	}
}

// checkEnd accepts the end of the WAL where nothing proves that there was more.
func (s *scanner) checkEnd(ctx context.Context, err error) error {
	var end *pgwal.EndError
	if !errors.As(err, &end) {
		return &Error{Op: "read WAL", LSN: s.out.end, Err: err}
	}
	c := s.node.control
	if !s.complete {
		return nil
	}
	if s.out.end > c.CheckPoint && s.out.end >= c.MinRecoveryPoint {
		if err := s.checkNothingBehind(ctx, end); err != nil {
			return err
		}
		s.out.gap, err = s.checkGap(ctx, end)
		return err
	}
	need := max(c.CheckPoint, c.MinRecoveryPoint)
	return &Error{Op: "read WAL", LSN: end.LSN, Err: fmt.Errorf("%w: it ends before %s, up to which the data files depend on it: %w", endedBy(end), need, err),
		Advice: "copy the missing segments from the WAL archive into pg_wal, or take a new base backup"}
}

// endedBy tells WAL that is gone, and may be found again, from WAL that is damaged.
func endedBy(end *pgwal.EndError) error {
	if end.Kind == pgwal.EndMissing {
		return ErrTargetWAL
	}
	return ErrDamaged
}

// checkNothingBehind tells an end from a hole. PostgreSQL syncs a segment before
// it begins the next, so a later segment that was really written proves that
// the WAL did not end here. The archive is only asked where this segment is not
// in the directory: what is kept here goes from some segment to the last one,
// and another node's archive may have segments of the same names.
func (s *scanner) checkNothingBehind(ctx context.Context, end *pgwal.EndError) error {
	here := pg.SegmentOf(end.At, s.node.control.WALSegSize)
	open := targetWAL{t: s.t, segSize: s.node.control.WALSegSize}
	open.noArchive = open.has(s.node.history, here)
	r := walReaderFrom(open, s.node)
	written := r.Written(ctx, here+1)
	if err := r.Close(); err != nil {
		return &Error{Op: "close WAL", Err: err}
	}
	if written {
		return &Error{Op: "read WAL", LSN: end.LSN, Err: fmt.Errorf("%w: WAL of the next segment was written after it: %w", endedBy(end), end),
			Advice: "copy the segment from the WAL archive into pg_wal, or take a new base backup"}
	}
	return nil
}

// record takes one record into account.
func (s *scanner) record(ctx context.Context, rec *pgwal.Record, from pg.LSN) error {
	if s.countOnly {
		changed, _ := pgwal.FileChanges(rec)
		s.lost.add(rec, changed)
		return nil
	}
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		if b.Fork == pg.MainFork {
			s.out.pages.addBlock(b.Locator, b.Block)
		}
	}
	if err := s.settings(ctx, rec, from); err != nil {
		return err
	}
	if err := s.promotions.add(rec); err != nil {
		return err
	}
	changed, err := pgwal.FileChanges(rec)
	if err != nil {
		return &Error{Op: "read WAL", LSN: rec.LSN, Err: fmt.Errorf("%w: %w", ErrNoStrategy, err),
			Advice: "this record changes files in a way that is not known here; take a new base backup"}
	}
	behind := rec.LSN >= s.fork
	s.out.copies = s.out.copies || !behind && rec.LSN >= s.redo && rec.CopiesDatabase()
	for _, c := range changed {
		s.fileChange(c, behind)
	}
	s.lost.add(rec, changed)
	return nil
}

// fileChange takes over a change that no block reference shows. Before the
// fork such changes are the source's as well, and replay repeats them; only
// SP-GiST's metapage is never logged, so that one always counts.
func (s *scanner) fileChange(c pgwal.FileChange, behind bool) {
	switch c.Kind {
	case pgwal.ChangeBlock:
		s.out.pages.addBlock(c.Locator, c.Block)
	case pgwal.ChangeFrom:
		switch {
		case behind && c.Fork == pg.MainFork:
			s.out.pages.addFrom(c.Locator, c.Block)
		case behind && c.Fork == pg.InitFork:
			// An unlogged relation: whatever its main fork holds is in no record,
			// and the source may have a logged one under the same number.
			s.out.pages.addFrom(c.Locator, 0)
		}
	case pgwal.ChangeDatabase:
		if behind {
			s.out.pages.addDatabase(c.Spc, c.DB)
		}
	}
}

// settings watches for settings under which WAL does not tell everything.
func (s *scanner) settings(ctx context.Context, rec *pgwal.Record, from pg.LSN) error {
	if on, ok := rec.FullPageWrites(); ok && !on && rec.LSN < s.fork && from > s.redo {
		return errScanFromRedo
	}
	if p, ok := rec.Parameters(); ok {
		if p.WALLevel == pgwal.WALLevelMinimal {
			return &Error{Op: "read WAL", LSN: rec.LSN, Err: fmt.Errorf("%w: wal_level was set to minimal", ErrNoStrategy),
				Advice: "what was loaded under wal_level = minimal is not in the WAL; take a new base backup"}
		}
		if err := s.checkHints(ctx, rec, p, from); err != nil {
			return err
		}
	}
	s.hints = s.hints.after(rec)
	return nil
}
