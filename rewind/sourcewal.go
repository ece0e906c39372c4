package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// Replay of most records needs nothing but the page that they change. That of a
// database made by copying another's files (CREATE DATABASE up to 14 or with
// STRATEGY = file_copy, ALTER DATABASE SET TABLESPACE) copies them once more, on
// the node that replays: from a database that has changed since, or is gone, and
// into the place of what was fetched. PostgreSQL makes a checkpoint behind each
// such copy, so that no recovery of its own meets the record; a rewind, which
// begins before the fork, would. Then replay begins at the source's last
// checkpoint instead, behind the copy, and what the source has changed up to
// there is fetched as well as what the target has.

// mayCopy tells whether the source may have copied a database since the fork: it
// has a directory that the target has not, or that the target made itself.
func (m *fileMap) mayCopy(pages *pageMap) bool {
	for p, j := range m.files {
		if j.src == nil || j.src.Kind != KindDir {
			continue
		}
		spc, db, ok := pg.ParseDatabaseDir(p, m.major)
		if ok && (j.dst == nil || pages.wholeDatabase(spc, db)) {
			return true
		}
	}
	return false
}

// replayCopies sees to it that no copying of a database is replayed.
func (pl *planner) replayCopies(ctx context.Context, m *fileMap) error {
	if pl.p.Strategy != StrategyWAL {
		return nil
	}
	own := walOptions(pl.target)
	ranged := sourceWAL{src: pl.engine.Source, segSize: own.SegmentSize}
	own.Open = eitherWAL{targetWAL{t: pl.t, segSize: own.SegmentSize}, ranged}
	copied, err := pl.readCopies(ctx, own, pl.p.Replay.Redo, pl.common.Redo, nil)
	if err != nil || copied != 0 {
		return errors.Join(err, pl.copied(copied))
	}
	// An interrupted run may have been ended by such a record.
	if !pl.p.Resumed && !pl.changes.copies && !m.mayCopy(pl.changes.pages) {
		return nil
	}
	theirs := walOptions(pl.source)
	// A source that was made after the common checkpoint never had the segments from
	// there on; the target's from before the fork hold the same.
	common := targetWAL{t: pl.t, segSize: own.SegmentSize, noArchive: true, upTo: pl.p.Fork.LSN}
	theirs.Open = eitherWAL{common, ranged, archivedWAL{t: pl.t, segSize: own.SegmentSize}}
	pages := newPageMap()
	checkpoint := pl.source.control.CheckPointCopy
	before, err := pl.readCopies(ctx, theirs, pl.common.Redo, checkpoint.Redo, pages)
	if err != nil {
		return err
	}
	after, err := pl.readCopies(ctx, theirs, max(checkpoint.Redo, pl.common.Redo), pl.p.Source.EndOfWAL, nil)
	if err != nil || after != 0 {
		return errors.Join(err, pl.copied(after))
	}
	if before == 0 {
		return nil
	}
	pl.changes.pages.addAll(pages)
	pl.p.Replay = Checkpoint{LSN: pl.source.control.CheckPoint, Redo: checkpoint.Redo, Timeline: checkpoint.ThisTimeLineID}
	pl.p.Reason += fmt.Sprintf("; the source has copied a database at %s, so that replay begins behind that", before)
	return nil
}

// copied refuses to replay a copy.
func (pl *planner) copied(at pg.LSN) error {
	if at == 0 {
		return nil
	}
	return copiedError(at)
}

func copiedError(at pg.LSN) error {
	return &Error{Op: "look for copied databases", LSN: at, Err: fmt.Errorf("%w: a database was made by copying files, and no checkpoint has followed", ErrSourceNotReady),
		Advice: "run CHECKPOINT at the source and try again: replay has to begin behind the copying"}
}

// readCopies reads WAL from one position to another and gives that of the last
// record that copies a database; zero for none. pages, if not nil, takes every
// block that is changed.
func (pl *planner) readCopies(ctx context.Context, o pgwal.Options, from, to pg.LSN, pages *pageMap) (copied pg.LSN, err error) {
	if from >= to {
		return 0, nil
	}
	r := pgwal.NewReader(o)
	defer closing(&err, r.Close)
	if err := r.Seek(from); err != nil {
		return 0, &Error{Op: "read WAL", LSN: from, Err: err}
	}
	s := &scanner{out: changes{pages: pages}}
	for {
		rec, err := r.Next(ctx)
		if err != nil {
			return copied, beforeEnd(err, to)
		}
		if rec.LSN >= to {
			return copied, nil
		}
		if rec.CopiesDatabase() {
			copied = rec.LSN
		}
		if err := checkNotMinimal(rec); err != nil {
			return 0, err
		}
		if pages == nil {
			continue
		}
		if err := s.pagesOf(rec); err != nil {
			return 0, err
		}
	}
}

// pagesOf adds what a record changes, whatever side of the fork it is on.
func (s *scanner) pagesOf(rec *pgwal.Record) error {
	for i := range rec.Blocks {
		if b := &rec.Blocks[i]; b.Fork == pg.MainFork {
			s.out.pages.addBlock(b.Locator, b.Block)
		}
	}
	changed, err := pgwal.FileChanges(rec)
	if err != nil {
		return &Error{Op: "read the source's WAL", LSN: rec.LSN, Err: fmt.Errorf("%w: %w", ErrNoStrategy, err),
			Advice: "this record changes files in a way that is not known here; take a new base backup"}
	}
	for _, c := range changed {
		s.fileChange(c, true)
	}
	return nil
}

// beforeEnd accepts the end of the source's WAL where it has to be: in the page
// that the end lies in, which the source may be writing.
func beforeEnd(err error, to pg.LSN) error {
	var end *pgwal.EndError
	if !errors.As(err, &end) {
		return &Error{Op: "read the source's WAL", Err: err}
	}
	if end.At >= (to-1)&^(blockSize-1) {
		return nil
	}
	kind := ErrDamaged
	if errors.Is(err, fs.ErrNotExist) {
		kind = ErrSourceWAL
	}
	return &Error{Op: "read the source's WAL", LSN: end.LSN, Err: fmt.Errorf("%w: %w", kind, err),
		Advice: "the rewound node could not replay it either: take a new base backup"}
}

func checkNotMinimal(rec *pgwal.Record) error {
	if p, ok := rec.Parameters(); ok && p.WALLevel == pgwal.WALLevelMinimal {
		return &Error{Op: "read the source's WAL", LSN: rec.LSN, Err: fmt.Errorf("%w: the source ran with wal_level = minimal", ErrNoStrategy),
			Advice: "what was loaded under wal_level = minimal is not in the WAL; take a new base backup"}
	}
	return nil
}

// checkFetchedWAL reads the WAL that the node will replay, from where it was
// read to before up to end, for what would make replay go wrong: first when it is
// all that was fetched, again when the rest has come. What it finds the source can
// put right, and the work can go on.
func (a *applier) checkFetchedWAL(ctx context.Context, end pg.LSN) (err error) {
	if len(a.p.WAL.Fetch) == 0 || a.p.Replay.Redo == 0 || a.walChecked >= end {
		return nil
	}
	c := a.sourceWALOptions()
	r := pgwal.NewReader(c)
	defer closing(&err, r.Close)
	if a.walChecked == 0 {
		a.walChecked = a.p.Replay.Redo
	}
	if err := r.Seek(a.walChecked); err != nil {
		return &Error{Op: "read the fetched WAL", LSN: a.walChecked, Err: err}
	}
	for {
		rec, err := r.Next(ctx)
		if err != nil {
			return beforeEnd(err, end)
		}
		if rec.LSN >= end {
			return nil
		}
		if err := a.checkReplayed(rec); err != nil {
			return err
		}
		a.walChecked = rec.End
	}
}

// checkReplayed refuses a record that cannot be replayed on what is fetched.
//
// A page that is read while the source writes it can be torn. Replay puts it
// right by the image that the source logged when it changed the page for the
// first time after its last checkpoint; full_page_writes must have been on since.
func (a *applier) checkReplayed(rec *pgwal.Record) error {
	if rec.CopiesDatabase() {
		return copiedError(rec.LSN)
	}
	if on, ok := rec.FullPageWrites(); ok && !on && !a.still && rec.LSN >= a.p.Source.Redo {
		return imagesError(rec.LSN)
	}
	return checkNotMinimal(rec)
}

// checkImages refuses a running source whose pages replay could not repair where
// they were read while being written. A standby's own setting says nothing: its
// pages are repaired by what its primary logged.
func (pl *planner) checkImages() error {
	switch {
	case !pl.state.Running || pl.countOnly:
		return nil
	case !pl.state.InRecovery && !pl.state.FullPageWrites:
		return &Error{Op: "check the source", Err: fmt.Errorf("%w: full_page_writes is off at the source", ErrNoStrategy),
			Advice: "switch full_page_writes on at the source, reload it and run CHECKPOINT there: pages read while they are written could not be repaired otherwise"}
	case !pl.source.control.CheckPointCopy.FullPageWrites:
		return imagesError(pl.source.control.CheckPoint)
	}
	return nil
}

func imagesError(at pg.LSN) error {
	return &Error{Op: "check the source", LSN: at, Err: fmt.Errorf("%w: full_page_writes was off after its last checkpoint, or at it", ErrSourceNotReady),
		Advice: "see that full_page_writes is on, run CHECKPOINT at the source, and try again: pages read while they are written could not be repaired otherwise"}
}

// sourceWALOptions are those of a reader of what the node will replay: what was
// fetched, or what it has itself from before the fork.
func (a *applier) sourceWALOptions() pgwal.Options {
	return pgwal.Options{
		SegmentSize: a.p.WALSegSize, SystemID: a.p.SystemID, Major: a.p.Major, History: a.p.Source.History,
		Open: eitherWAL{stagedWAL{t: a.w.target, segSize: a.p.WALSegSize}, targetWAL{t: a.w.target, segSize: a.p.WALSegSize}},
	}
}
