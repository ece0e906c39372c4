package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// copies watches the source's WAL for databases that it made, or moved, by
// copying files. Replay copies them again, from what lies at their origin by
// then. In a directory that was rewound that is not what was there at the time:
// blocks that were fetched hold what came later, and an origin that was dropped
// since is not there at all. (pg_rewind ends well, and the database is wrong or
// cannot be opened.) Where the origin has not changed since, replay is right.
type copies struct {
	made []databaseCopy
	// at is up to where the WAL was looked at.
	at pg.LSN
}

type databaseCopy struct {
	pgwal.DatabaseCopy
	lsn pg.LSN
	// changed: the origin was, behind the copy; gone: so was what it made.
	changed, gone bool
}

func (c *copies) add(rec *pgwal.Record) error {
	if len(c.made) > 0 && !rec.OnlyHints() {
		if err := c.note(rec); err != nil {
			return err
		}
	}
	if d, ok := rec.CopiedDatabase(); ok {
		c.made = append(c.made, databaseCopy{DatabaseCopy: d, lsn: rec.LSN})
	}
	return nil
}

// note looks what the record means for the copies before it.
func (c *copies) note(rec *pgwal.Record) error {
	changed, err := pgwal.FileChanges(rec)
	if err != nil {
		return err
	}
	for i := range c.made {
		d := &c.made[i]
		for j := range rec.Blocks {
			d.touch(rec.Blocks[j].Locator.Spc, rec.Blocks[j].Locator.DB)
		}
		for _, f := range changed {
			if f.Kind != pgwal.ChangeDatabase {
				d.touch(f.Locator.Spc, f.Locator.DB)
				continue
			}
			d.touch(f.Spc, f.DB)
			d.gone = d.gone || f.Spc == d.ToSpc && f.DB == d.ToDB
		}
	}
	return nil
}

func (d *databaseCopy) touch(spc, db pg.Oid) {
	d.changed = d.changed || spc == d.FromSpc && db == d.FromDB
}

// check refuses what replay would not repeat.
func (c *copies) check(m pg.Major) error {
	for _, d := range c.made {
		if d.changed && !d.gone {
			return &Error{Op: "read the fetched WAL", LSN: d.lsn, Err: fmt.Errorf("%w: the source made %s there as a copy of %s, which has changed since",
				ErrNoStrategy, pg.DatabaseDir(d.ToSpc, d.ToDB, m), pg.DatabaseDir(d.FromSpc, d.FromDB, m)),
				Advice: "replay would copy it as it is now; take a new base backup"}
		}
	}
	return nil
}

// checkCopies looks at the WAL that was fetched, on from where it was looked at
// before, up to end.
func (a *applier) checkCopies(ctx context.Context, end pg.LSN) (err error) {
	if a.p.Replay.LSN == 0 {
		return nil
	}
	c, size := &a.copies, a.p.WALSegSize
	c.at = max(c.at, a.p.Replay.Redo)
	r := pgwal.NewReader(pgwal.Options{
		SegmentSize: size, SystemID: a.p.SystemID, Major: a.p.Major, History: a.p.Source.History,
		Open: replayedWAL{staged: stagedWAL{t: a.w.target, segSize: size}, own: targetWAL{t: a.w.target, segSize: size}},
	})
	defer closing(&err, r.Close)
	if err := r.Seek(c.at); err != nil {
		return notAnEnd(err)
	}
	for c.at < end {
		rec, err := r.Next(ctx)
		if err != nil {
			if err := notAnEnd(err); err != nil {
				return err
			}
			break
		}
		if err := c.add(rec); err != nil {
			return &Error{Op: "read the fetched WAL", LSN: rec.LSN, Err: fmt.Errorf("%w: %w", ErrNoStrategy, err), Advice: "take a new base backup"}
		}
		c.at = rec.End
	}
	return c.check(a.p.Major)
}

// replayedWAL is what the node will replay: what was fetched, and what stays.
type replayedWAL struct {
	staged stagedWAL
	own    targetWAL
}

// OpenSegment implements pgwal.SegmentOpener.
func (w replayedWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	s, err := w.staged.OpenSegment(ctx, tli, no)
	if errors.Is(err, fs.ErrNotExist) {
		return w.own.OpenSegment(ctx, tli, no)
	}
	return s, err
}
