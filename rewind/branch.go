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

// compareBranches makes sure that what both sides have in common by their
// histories really is the same. Histories name timelines by number and by where
// they begin, and two servers can come to the same of both: two standbys
// promoted at the same position, or a primary that was forgotten and another
// that was started from a copy without a promotion. So the WAL before the fork,
// or before the end of either side, is compared byte for byte, by hashes, from
// the last common checkpoint on. The last record alone would not do: a switch of
// segments or a snapshot of running transactions holds nothing that two servers
// under the same load, with rows of the same length, would not both write.
//
// Where they differ, all of the timeline on which they do counts as two: then
// the fork is where it begins, and is returned. The first timeline has no such
// beginning.
func (pl *planner) compareBranches(ctx context.Context) (earlier *pg.Fork, err error) {
	last, end := pl.changes.last, min(pl.changes.end, pl.p.Fork.LSN)
	if last == 0 {
		return nil, nil
	}
	if pl.changes.end > end {
		last = end // the source has WAL from here on, or Plan fails for that
	}
	has := pl.p.Source.EndOfWAL // diverged behind the fork, the source may be a standby that has not replayed up to it
	size := pl.p.WALSegSize
	for at, to := max(pl.common.LSN, end-min(end, sameBranchWAL)), min(end, has); at < to; {
		no := pg.SegmentOf(at, size)
		stop := min(to, (no + 1).Start(size))
		same, known, err := pl.sameWAL(ctx, no, at, stop)
		switch {
		case err != nil:
			return nil, err
		case !known && stop > last:
			pl.warn(fmt.Sprintf("whether both nodes have the same record at %s could not be compared: the source no longer has that WAL", last))
		case known && !same:
			return pl.forkBefore(at, stop)
		}
		at = stop
	}
	switch {
	case end <= has:
		return nil, nil
	case pl.state.InRecovery: // it tells neither what it has received nor that it will not receive more
		pl.warn(fmt.Sprintf("whether both nodes have the same record at %s could not be compared: the source, a standby, may not have it yet", last))
		return nil, nil
	}
	return nil, pl.otherBranch(end, fmt.Sprintf("the source has written up to %s only", has))
}

// forkBefore is the fork between two branches whose WAL differs somewhere in a
// stretch of it: the beginning of the timeline at its end. If the stretch
// differs before that as well, the next comparison finds it.
func (pl *planner) forkBefore(at, stop pg.LSN) (*pg.Fork, error) {
	h := pl.target.history
	for i := len(h) - 1; i > 0; i-- {
		if h[i].Begin < stop {
			return &pg.Fork{LSN: h[i].Begin, Timeline: h[i-1].Timeline}, nil
		}
	}
	return nil, pl.otherBranch(at, fmt.Sprintf("the source has other WAL between %s and %s", at, stop))
}

// checkFollowed refuses a source in recovery that is on its way to a newer
// timeline than its control file names, where that makes a difference. A
// standby writes the timeline down when it writes out a page or makes a
// restartpoint, which can be minutes after it has changed over.
func (pl *planner) checkFollowed(ctx context.Context) error {
	if !pl.state.InRecovery {
		return nil
	}
	h, err := newestHistory(ctx, pl.engine.Source, pl.source.history)
	if err != nil || h.Last() == pl.source.timeline {
		return err
	}
	fork, err := pg.FindFork(pl.target.history, h)
	if err == nil && (fork == pl.p.Fork || pl.changes.end <= min(fork.LSN, pl.p.Fork.LSN)) {
		return nil
	}
	return &Error{Op: "look at the source's timeline", Err: fmt.Errorf("%w: it is a standby on its way to timeline %d, and its control file still names %d", ErrSourceNotReady, h.Last(), pl.source.timeline),
		Advice: "run CHECKPOINT on the primary that the source follows and then on the source itself, or take that primary as the source"}
}

// newestHistory finds the newest timeline that a source in recovery knows to
// come of its own, as PostgreSQL's findNewestTimeLine does; its own history
// where there is none.
func newestHistory(ctx context.Context, src Source, own pg.History) (pg.History, error) {
	newest := own
	for tli := own.Last() + 1; ; tli++ {
		name := "pg_wal/" + pg.HistoryFileName(tli)
		b, err := src.ReadFile(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return newest, nil
		}
		if err != nil {
			return nil, &Error{Op: "read the source's history", Path: name, Err: err}
		}
		h, err := pg.ParseHistory(tli, b)
		if err != nil {
			return nil, &Error{Op: "read the source's history", Path: name, Err: errors.Join(ErrDamaged, err)}
		}
		if h.HasTimeline(own.Last(), own[len(own)-1].Begin) {
			newest = h
		}
	}
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
		Advice: "two servers wrote on the first timeline, or one has lost what it had written; where they part cannot be told from their histories: take a new base backup"}
}
