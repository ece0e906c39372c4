package rewind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// checkSameBranch makes sure that a target whose history is the source's, or
// the beginning of it, really is on the same branch. Histories name timelines
// by number and by where they begin, and two servers can come to the same of
// both: two standbys promoted at the same position, or a primary that was
// forgotten and another that was started from a copy without a promotion. So
// the target's last record, which carries a checksum over its content, must be
// on the source too, byte for byte.
func (pl *planner) checkSameBranch(ctx context.Context) error {
	first, end := pl.changes.last, pl.changes.end
	if first == 0 || end <= first || end > pl.p.Fork.LSN {
		return nil // behind a fork that the histories show
	}
	if pl.state.Running && !pl.state.InRecovery && end > pl.state.InsertLSN {
		return pl.otherBranch(end, fmt.Sprintf("the source has written up to %s only", pl.state.InsertLSN))
	}
	size := pl.p.WALSegSize
	for at := first; at < end; {
		no := pg.SegmentOf(at, size)
		stop := min(end, (no + 1).Start(size))
		same, known, err := pl.sameWAL(ctx, no, at, stop)
		if err != nil {
			return err
		}
		if !known {
			pl.warn(fmt.Sprintf("whether both nodes have the same record at %s could not be compared: the source no longer has that WAL", first))
			return nil
		}
		if !same {
			return pl.otherBranch(at, "the source has another record there")
		}
		at = stop
	}
	return nil
}

// sameWAL compares a stretch of one segment on both sides.
func (pl *planner) sameWAL(ctx context.Context, no pg.SegmentNo, from, to pg.LSN) (same, known bool, err error) {
	size := pl.p.WALSegSize
	off, n := int64(from-no.Start(size)), int64(to-from)
	here, err := pl.readOwnWAL(ctx, no, off, n)
	if err != nil {
		return false, false, err
	}
	same, known = true, true
	var ranges []Range
	p := "pg_wal/" + pg.SegmentName(segmentTimeline(pl.source.history, no, size), no, size)
	for done := int64(0); done < n; done += MaxRange {
		ranges = append(ranges, Range{Path: p, Offset: off + done, Length: min(MaxRange, n-done)})
	}
	err = pl.engine.Source.ReadRanges(ctx, ranges, func(c Chunk) error {
		mine := here[c.Offset-off:][:c.Length]
		known = known && !c.Missing
		same = same && bytes.Equal(c.Data, mine)
		return nil
	})
	return same, known, err
}

func (pl *planner) readOwnWAL(ctx context.Context, no pg.SegmentNo, off, n int64) (b []byte, err error) {
	w := targetWAL{t: pl.t, segSize: pl.p.WALSegSize}
	tli := pl.target.history.At(no.Start(pl.p.WALSegSize) + pg.LSN(off))
	f, err := w.OpenSegment(ctx, tli, no)
	if err != nil {
		return nil, &Error{Op: "read WAL", LSN: no.Start(pl.p.WALSegSize), Err: errors.Join(ErrTargetWAL, err)}
	}
	defer closing(&err, f.Close)
	b = make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(f, off, n), b); err != nil {
		return nil, &Error{Op: "read WAL", LSN: no.Start(pl.p.WALSegSize), Err: err}
	}
	return b, nil
}

func (pl *planner) otherBranch(at pg.LSN, what string) error {
	return &Error{Op: "compare nodes", LSN: at,
		Err:    fmt.Errorf("%w: by their histories this node has nothing that the source lacks, but %s", ErrNoStrategy, what),
		Advice: "two servers wrote on the same timeline, and where they part cannot be told from their histories: take a new base backup"}
}
