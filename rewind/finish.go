package rewind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// settle makes the image of the control file that the node will start with:
// its own where nothing was copied, one made from the source's otherwise.
func (a *applier) settle(ctx context.Context) ([]byte, error) {
	if a.p.Strategy == StrategyNone {
		b, err := a.w.readFile(journalControl, pgcontrol.FileSize)
		if err != nil {
			return nil, a.w.fail("read file", journalControl, err)
		}
		return b, nil
	}
	c, err := a.settleSource(ctx)
	if err != nil {
		return nil, err
	}
	return c.Encode(), nil
}

// settleSource asks the source once more, after the last block was fetched. The
// WAL that was written meanwhile is fetched too: everything up to the point of
// consistency is then here, also if the source has recycled it before the node
// streams.
func (a *applier) settleSource(ctx context.Context) (*pgcontrol.Control, error) {
	before, err := a.engine.Source.State(ctx)
	if err != nil {
		return nil, err
	}
	c, err := readSourceControl(ctx, a.engine.Source)
	if err != nil {
		return nil, err
	}
	state, err := a.engine.Source.State(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.sameSource(c, before, state); err != nil {
		return nil, err
	}
	end := sourceEnd(state, c)
	if err := a.fetchRest(ctx, end); err != nil {
		return nil, err
	}
	if err := a.checkFetchedWAL(ctx, end); err != nil {
		return nil, err
	}
	if state.Running && !state.InRecovery {
		if end, err = a.lastRecordEnd(ctx, c, end); err != nil {
			return nil, err
		}
	}
	a.minRecovery = end
	c.State = pgcontrol.StateInArchiveRecovery
	c.MinRecoveryPoint = end
	c.MinRecoveryPointTLI = a.p.Source.Timeline
	c.Time = time.Now()
	return c, nil
}

// lastRecordEnd is where the last whole record before end ends, by the WAL that
// was fetched; end itself where that cannot be told.
//
// WAL is flushed in pages as well, in the middle of a record. Nothing on the
// source's disk can depend on a record that was not flushed to its end, and a
// node that had to wait for the rest of it would not open before the source
// writes again: on an idle one that took 15 seconds.
func (a *applier) lastRecordEnd(ctx context.Context, c *pgcontrol.Control, end pg.LSN) (last pg.LSN, err error) {
	r := pgwal.NewReader(pgwal.Options{
		SegmentSize: c.WALSegSize, PageSize: c.WALBlockSize, SystemID: c.SystemIdentifier, Major: c.Major(),
		History: a.p.Source.History,
		Open:    stagedWAL{t: a.w.target, segSize: c.WALSegSize},
	})
	defer closing(&err, r.Close)
	if err := r.SeekSegment(ctx, pg.SegmentOf(end-1, c.WALSegSize)); err != nil {
		return end, notAnEnd(err)
	}
	last = end
	for {
		rec, err := r.Next(ctx)
		var stop *pgwal.EndError
		switch {
		case errors.As(err, &stop) && stop.At < (end-1)&^(blockSize-1):
			return end, nil // unreadable before its end: rather wait for too much
		case err != nil:
			return last, notAnEnd(err)
		case rec.End > end:
			return last, nil
		}
		last = rec.End
	}
}

// notAnEnd passes errors that are none of the log's own ends.
func notAnEnd(err error) error {
	var stop *pgwal.EndError
	if errors.As(err, &stop) || errors.Is(err, pgwal.ErrNoRecord) {
		return nil
	}
	return &Error{Op: "read the fetched WAL", Err: err}
}

// sameSource refuses a source that was promoted, or replaced, during the work.
func (a *applier) sameSource(c *pgcontrol.Control, before, after SourceState) error {
	switch {
	case c.SystemIdentifier != a.p.SystemID:
		return a.sourceChanged(fmt.Sprintf("its system identifier is %s now", c.SystemIdentifier))
	case timelineOf(c) != a.p.Source.Timeline:
		return a.sourceChanged(fmt.Sprintf("it is on timeline %d now", timelineOf(c)))
	case before.InRecovery != after.InRecovery || after.Running && !after.InRecovery && after.FlushLSN < a.p.Source.EndOfWAL:
		return a.sourceChanged("its role changed")
	case !after.Running && sourceEnd(after, c) != a.p.Source.EndOfWAL:
		return a.sourceChanged("a server ran on it")
	}
	return nil
}

func (a *applier) sourceChanged(how string) error {
	return &Error{Op: "look at the source again", Err: fmt.Errorf("%w: %s", ErrSourceChanged, how), Advice: "run again: the work will be continued"}
}

// fetchRest fetches the WAL from the last segment that was fetched to end.
func (a *applier) fetchRest(ctx context.Context, end pg.LSN) error {
	if len(a.p.WAL.Fetch) == 0 {
		return nil
	}
	var files []File
	var more []string
	size := a.p.WALSegSize
	last := pg.SegmentOf(max(a.p.Source.EndOfWAL, a.p.Replay.Redo+1)-1, size)
	for no := last; no <= pg.SegmentOf(end-1, size); no++ {
		name := "pg_wal/" + pg.SegmentName(segmentTimeline(a.p.Source.History, no, size), no, size)
		files = append(files, File{Path: name, Kind: KindFile, Size: int64(size)})
		if no > last {
			a.p.WAL.Fetch, more = append(a.p.WAL.Fetch, files[len(files)-1]), append(more, files[len(files)-1].Path)
		}
	}
	if len(more) > 0 {
		if err := errors.Join(a.remember(more), a.journal.Sync()); err != nil {
			return a.w.fail("write journal", JournalDir, err)
		}
	}
	return a.fetchWAL(ctx, files, end)
}

// finish makes the directory startable again: label, standby settings, and
// pg_control last.
func (a *applier) finish(ctx context.Context, control []byte) error {
	a.run.begin(PhaseFinish, 0)
	if err := a.writeLabel(); err != nil {
		return err
	}
	if err := a.writeStandby(); err != nil {
		return err
	}
	if err := a.mayCommit(ctx); err != nil {
		return err
	}
	sum := hashControl(control)
	if err := errors.Join(a.appendRecord(recordDone, sum[:]), a.journal.Sync()); err != nil {
		return a.w.fail("write journal", JournalDir, err)
	}
	if err := a.w.publish(controlRel, control); err != nil {
		return err
	}
	done := &resume{finished: true, undoable: a.w.undo != nil, states: a.w.undo.all(), plans: []*Plan{a.p}}
	if a.resume != nil {
		done.plans = append(a.resume.plans, a.p)
	}
	if err := a.closeJournal(); err != nil || a.engine.Options.KeepUndo {
		return err
	}
	return a.leave(done)
}

// leave removes the engine's own files. The work is done by now: where there is no
// room to note that it cannot be taken back any more, or WAL cannot be salvaged, all
// stays where it is, for the next run to try again.
func (a *applier) leave(done *resume) (err error) {
	if err := a.w.giveUpUndo(done); errors.Is(err, ErrNoSpace) {
		a.run.warn(err.Error())
		return nil
	} else if err != nil {
		return err
	}
	if a.salvaged, err = a.w.salvage(done.plans, a.engine.Options.Salvage); err != nil {
		a.run.warn(err.Error())
		return nil
	}
	return a.w.removeOwnFiles(done.states)
}

// mayCommit is the last chance to say no: to whoever called, and to a run that
// was told to stop.
func (a *applier) mayCommit(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if f := a.engine.Options.BeforeCommit; f != nil {
		return f(ctx)
	}
	return nil
}

// writeLabel tells the server where to begin. "BACKUP METHOD: pg_rewind" is
// what makes it accept an end of recovery that no backup record marks.
func (a *applier) writeLabel() error {
	r := a.p.Replay
	if r.LSN == 0 {
		return nil
	}
	l := pg.BackupLabel{
		StartLSN:      r.Redo,
		StartSegment:  pg.SegmentName(r.Timeline, pg.SegmentOf(r.Redo, a.p.WALSegSize), a.p.WALSegSize),
		CheckpointLSN: r.LSN,
		Method:        "pg_rewind",
		From:          "standby",
		StartTime:     time.Now(),
	}
	return a.w.publish("backup_label", l.Bytes())
}
