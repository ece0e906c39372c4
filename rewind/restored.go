package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// checkRestored reads the WAL that replay will need wherever a segment of it is
// to come from the archive, with what lies before and behind. Two nodes that
// were promoted to the same timeline number give their segments the same names,
// and if both archive to one place, what is there may be of either. The records
// tell: each names the one before it.
func (pl *planner) checkRestored(ctx context.Context) error {
	w := &pl.p.WAL
	for i := 0; i < len(w.Restore); {
		j := i
		for j+1 < len(w.Restore) && pl.segmentOf(w.Restore[j+1]) == pl.segmentOf(w.Restore[j])+1 {
			j++
		}
		if err := pl.checkJoined(ctx, pl.segmentOf(w.Restore[i]), pl.segmentOf(w.Restore[j])); err != nil {
			return err
		}
		i = j + 1
	}
	return nil
}

func (pl *planner) segmentOf(p string) pg.SegmentNo {
	_, no, _ := pg.ParseSegmentName(p[len("pg_wal/"):], pl.p.WALSegSize)
	return no
}

// checkJoined reads from a record before a run of segments to one behind it.
func (pl *planner) checkJoined(ctx context.Context, first, last pg.SegmentNo) (err error) {
	r := walReaderFrom(plannedWAL{pl}, pl.source)
	defer closing(&err, r.Close)
	size := pl.p.WALSegSize
	if err := pl.seekBefore(ctx, r, first); err != nil {
		return pl.notJoined(first, last, err)
	}
	to := min((last+1).Start(size)+1, pl.p.Source.EndOfWAL)
	for at := pg.LSN(0); at < to; {
		rec, err := r.Next(ctx)
		if err != nil {
			return pl.notJoined(first, last, err)
		}
		at = rec.End
	}
	return nil
}

// seekBefore goes to a record before a segment, where replay needs one.
func (pl *planner) seekBefore(ctx context.Context, r *pgwal.Reader, no pg.SegmentNo) error {
	redo := pl.p.Replay.Redo
	for no--; no > pg.SegmentOf(redo, pl.p.WALSegSize); no-- {
		if err := r.SeekSegment(ctx, no); !errors.Is(err, pgwal.ErrNoRecord) {
			return err
		}
	}
	return r.Seek(redo)
}

func (pl *planner) notJoined(first, last pg.SegmentNo, err error) error {
	var end *pgwal.EndError
	if !errors.As(err, &end) {
		return err
	}
	size := pl.p.WALSegSize
	name := func(no pg.SegmentNo) string {
		return pg.SegmentName(segmentTimeline(pl.source.history, no, size), no, size)
	}
	return &Error{Op: "check restored WAL", Path: "pg_wal/" + name(first), LSN: end.At,
		Err:    fmt.Errorf("%w: what the archive has from %s to %s does not fit the source's: %w", ErrSourceWAL, name(first), name(last), err),
		Advice: "the archive holds the WAL of another branch under the same names, or damaged files; now a new base backup is needed"}
}

// plannedWAL opens the segments that replay will find, where they are now.
type plannedWAL struct{ pl *planner }

// OpenSegment implements pgwal.SegmentOpener.
func (w plannedWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	pl, size := w.pl, w.pl.p.WALSegSize
	name := pg.SegmentName(tli, no, size)
	p := "pg_wal/" + name
	switch {
	case slices.Contains(pl.p.WAL.Restore, p):
		f, err := pl.t.archive.open(ctx, name)
		if err != nil {
			return nil, err
		}
		return checkSegmentSize(f, name, size)
	case slices.ContainsFunc(pl.p.WAL.Fetch, func(f File) bool { return f.Path == p }):
		return sourceWAL{src: pl.engine.Source, segSize: size}.OpenSegment(ctx, tli, no)
	case slices.Contains(pl.p.WAL.Keep, p):
		return targetWAL{t: pl.t, segSize: size, noArchive: true}.OpenSegment(ctx, tli, no)
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}
