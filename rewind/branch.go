package rewind

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// sameBranchWAL is how much WAL is compared at most.
const sameBranchWAL = 64 << 20

// checkSameBranch makes sure that what both sides have in common by their
// histories really is the same. Histories name timelines by number and by where
// they begin, and two servers can come to the same of both: two standbys
// promoted at the same position, or a primary that was forgotten and another
// that was started from a copy without a promotion. So the WAL before the fork,
// or before the target's end, is compared byte for byte, by hashes, from the
// last common checkpoint on. The last record alone would not do: a switch of
// segments or a snapshot of running transactions holds nothing that two servers
// under the same load, with rows of the same length, would not both write.
func (pl *planner) checkSameBranch(ctx context.Context) error {
	last, end := pl.changes.last, pl.changes.end
	if last == 0 {
		return nil
	}
	if diverged := end > pl.p.Fork.LSN; diverged {
		last, end = pl.p.Fork.LSN, pl.p.Fork.LSN // the source has WAL from here on, or Plan fails for that
	} else if pl.state.Running && !pl.state.InRecovery && end > pl.state.FlushLSN {
		return pl.otherBranch(end, fmt.Sprintf("the source has written up to %s only", pl.state.FlushLSN))
	}
	if pl.state.InRecovery && end > pl.source.control.MinRecoveryPoint {
		// A standby tells neither what it has received nor that it will not receive more.
		pl.warn(fmt.Sprintf("whether both nodes have the same record at %s could not be compared: the source, a standby, may not have it yet", last))
		return nil
	}
	size := pl.p.WALSegSize
	for at := max(pl.common.LSN, end-min(end, sameBranchWAL)); at < end; {
		no := pg.SegmentOf(at, size)
		stop := min(end, (no + 1).Start(size))
		same, known, err := pl.sameWAL(ctx, no, at, stop)
		switch {
		case err != nil:
			return err
		case !known && stop > last:
			pl.warn(fmt.Sprintf("whether both nodes have the same record at %s could not be compared: the source no longer has that WAL", last))
		case known && !same:
			return pl.otherBranch(at, fmt.Sprintf("the source has other WAL between %s and %s", at, stop))
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
	var ranges []Range
	p := "pg_wal/" + pg.SegmentName(segmentTimeline(pl.source.history, no, size), no, size)
	for done := int64(0); done < n; done += MaxRange {
		ranges = append(ranges, Range{Path: p, Offset: off + done, Length: min(MaxRange, n-done)})
	}
	sums, err := pl.engine.Source.HashRanges(ctx, ranges)
	if err == nil && len(sums) != len(ranges) {
		err = &Error{Op: "compare WAL", Path: p, Err: fmt.Errorf("%w: %d hashes for %d ranges", ErrDamaged, len(sums), len(ranges))}
	}
	if err != nil {
		return false, false, err
	}
	same, known = true, true
	for i, r := range ranges {
		known = known && !sums[i].Missing
		same = same && sums[i].SHA256 == sha256.Sum256(here[r.Offset-off:][:r.Length])
	}
	return same, known, nil
}

func (pl *planner) readOwnWAL(ctx context.Context, no pg.SegmentNo, off, n int64) (b []byte, err error) {
	w := targetWAL{t: pl.t, segSize: pl.p.WALSegSize}
	f, err := w.OpenSegment(ctx, segmentTimeline(pl.target.history, no, pl.p.WALSegSize), no)
	if errors.Is(err, fs.ErrNotExist) { // the end of an older timeline, of whose newer one nothing came
		f, err = w.OpenSegment(ctx, pl.target.history.At(no.Start(pl.p.WALSegSize)+pg.LSN(off)), no)
	}
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
		Err:    fmt.Errorf("%w: by their histories the two have the WAL up to here in common, but %s", ErrNoStrategy, what),
		Advice: "two servers wrote on the same timeline, and where they part cannot be told from their histories: take a new base backup"}
}
