package rewind

import (
	"context"
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// findFork finds where the histories part.
func findFork(t, s node) (pg.Fork, error) {
	f, err := pg.FindFork(t.history, s.history)
	if err != nil {
		return f, &Error{Op: "compare timeline histories", Err: errors.Join(ErrNoAncestor, err)}
	}
	return f, nil
}

// commonCheckpoint is a checkpoint of the target's that lies before the fork,
// with what its record says.
type commonCheckpoint struct {
	Checkpoint
	fullPageWrites bool
	// nextXID is the first transaction id that was not given out yet,
	// oldestActive the oldest one in progress; nextXID's where there was none.
	nextXID, oldestActive pg.XID
}

func newCommonCheckpoint(lsn pg.LSN, c pgcontrol.Checkpoint) commonCheckpoint {
	out := commonCheckpoint{
		Checkpoint:     Checkpoint{LSN: lsn, Redo: c.Redo, Timeline: c.ThisTimeLineID},
		fullPageWrites: c.FullPageWrites,
		nextXID:        c.NextXID.XID(),
		oldestActive:   c.OldestActiveXID,
	}
	if out.oldestActive == 0 {
		out.oldestActive = out.nextXID
	}
	return out
}

// findCheckpoint finds a checkpoint before the fork to start from. Any common
// one is right; a later one means fewer blocks and less replay.
//
// The one in the control file is taken where it qualifies, and nothing newer is
// looked for: it is the last one, or one back if the server died between
// writing the record and the control file. It also keeps the rule that the
// target's own pages hold everything up to where replay begins: a standby that
// was killed has flushed no more than its last restartpoint says.
func findCheckpoint(ctx context.Context, r *pgwal.Reader, t node, fork pg.LSN) (commonCheckpoint, error) {
	c := t.control
	if l := t.label; l != nil && l.LSN < fork && l.Redo < c.CheckPointCopy.Redo {
		return checkpointAt(ctx, r, l.LSN)
	}
	if c.CheckPoint < fork {
		return newCommonCheckpoint(c.CheckPoint, c.CheckPointCopy), nil
	}
	return searchCheckpoint(ctx, r, t, fork, func(commonCheckpoint) bool { return true })
}

// checkpointAt reads the checkpoint record at a known position.
func checkpointAt(ctx context.Context, r *pgwal.Reader, lsn pg.LSN) (commonCheckpoint, error) {
	err := r.Seek(lsn)
	var rec *pgwal.Record
	if err == nil {
		rec, err = r.Next(ctx)
	}
	if err != nil {
		return commonCheckpoint{}, &Error{Op: "read a checkpoint", LSN: lsn, Err: fmt.Errorf("%w: %w", ErrTargetWAL, err)}
	}
	if _, ok := rec.Checkpoint(); !ok {
		return commonCheckpoint{}, &Error{Op: "read a checkpoint", LSN: lsn, Err: fmt.Errorf("%w: there is another record", ErrDamaged)}
	}
	return parseCheckpoint(rec)
}

func parseCheckpoint(rec *pgwal.Record) (commonCheckpoint, error) {
	body, err := pgcontrol.ParseCheckpoint(rec.Main, rec.Major)
	if err != nil {
		return commonCheckpoint{}, &Error{Op: "read checkpoint record", LSN: rec.LSN, Err: errors.Join(ErrDamaged, err)}
	}
	return newCommonCheckpoint(rec.LSN, body), nil
}

// searchCheckpoint goes back from before to the newest checkpoint that is good.
func searchCheckpoint(ctx context.Context, r *pgwal.Reader, t node, before pg.LSN, good func(commonCheckpoint) bool) (commonCheckpoint, error) {
	segSize := t.control.WALSegSize
	for seg := pg.SegmentOf(before-1, segSize); seg > 0; seg-- {
		c, err := lastCheckpointIn(ctx, r, seg, segSize, before, good)
		if err != nil {
			return commonCheckpoint{}, noCheckpoint(t, before, seg, err)
		}
		if c != nil {
			return *c, nil
		}
	}
	return commonCheckpoint{}, noCheckpoint(t, before, 0, errors.New("the WAL begins after it"))
}

// findScanStart is where the search for changed blocks has to begin.
//
// For a primary that is the checkpoint itself. A standby sets hint bits in
// pages that are dirty already without any trace: a page that a transaction
// changed before the checkpoint may reach the disk after it with the hint that
// the transaction has committed, which on the source it never did. Pages that
// were written to by transactions in progress at the checkpoint therefore have
// to be found too, and those transactions had written nothing before a
// checkpoint whose next transaction id is theirs or an older one. Pages that this
// server has not changed since it began to replay cannot be dirty, so that the
// search ends there at the latest: of what was before, a standby that was made by
// a base backup has no WAL.
//
// What counts is not what the node is now but what it was when it came by the
// checkpoint: a standby that was promoted since has written such pages to its
// disk all the same, with hints that it set while it was a standby, or, that
// the transactions have aborted, right after it was one.
func findScanStart(ctx context.Context, r *pgwal.Reader, t node, c commonCheckpoint) (pg.LSN, error) {
	if !recoveredSince(t, c.LSN) || !precedes(c.oldestActive, c.nextXID) {
		return c.LSN, nil
	}
	// A standby keeps another checkpoint's next transaction id in its control file.
	c, err := checkpointAt(ctx, r, c.LSN)
	if err != nil || !precedes(c.oldestActive, c.nextXID) {
		return c.LSN, err
	}
	if c.Redo <= t.began.Redo { // there may be no WAL before it
		return min(c.LSN, t.began.Redo), nil
	}
	k, err := searchCheckpoint(ctx, r, t, c.LSN, func(k commonCheckpoint) bool {
		return !precedes(c.oldestActive, k.nextXID) || k.Redo <= t.began.Redo
	})
	return min(c.LSN, max(k.Redo, t.began.Redo)), err
}

// precedes compares transaction ids modulo 2^32, as TransactionIdPrecedes in
// access/transam/transam.c.
func precedes(a, b pg.XID) bool { return int32(a-b) < 0 }

func noCheckpoint(t node, fork pg.LSN, seg pg.SegmentNo, err error) error {
	name := pg.SegmentName(t.history.At(seg.Start(t.control.WALSegSize)), seg, t.control.WALSegSize)
	return &Error{Op: "find the last common checkpoint", Path: "pg_wal/" + name, LSN: fork, Err: fmt.Errorf("%w: %w", ErrTargetWAL, err),
		Advice: "copy the missing segments from the WAL archive into pg_wal, or take a new base backup"}
}

// lastCheckpointIn reads one segment forward and returns the last good
// checkpoint that begins in it before the given position; nil when there is
// none. Reading forward costs no more than following the links back, which would
// read the same pages in the worst order, and checks the order of the records
// on the way.
func lastCheckpointIn(ctx context.Context, r *pgwal.Reader, seg pg.SegmentNo, segSize uint32, before pg.LSN, good func(commonCheckpoint) bool) (*commonCheckpoint, error) {
	if err := r.SeekSegment(ctx, seg); err != nil {
		if errors.Is(err, pgwal.ErrNoRecord) {
			return nil, nil
		}
		return nil, err
	}
	var last *commonCheckpoint
	for {
		rec, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		if rec.LSN >= before || pg.SegmentOf(rec.LSN, segSize) > seg {
			return last, nil
		}
		if _, ok := rec.Checkpoint(); !ok {
			continue
		}
		c, err := parseCheckpoint(rec)
		if err != nil {
			return nil, err
		}
		if good(c) {
			last = &c
		}
	}
}

// isStandby tells whether the control file is one of a standby: its data is
// what it has replayed and flushed, not what its WAL says.
func isStandby(c *pgcontrol.Control) bool {
	return c.State == pgcontrol.StateShutDownInRecovery || c.State == pgcontrol.StateInArchiveRecovery
}

// recoveredSince tells whether the node was, or may have been, a standby when it
// came by a position, or later: it is one, or a timeline of its ended since.
func recoveredSince(t node, lsn pg.LSN) bool {
	if isStandby(t.control) {
		return true
	}
	for _, e := range t.history {
		if e.End != pg.MaxLSN && e.End > lsn {
			return true
		}
	}
	return false
}

// dataEnd is the end of what the target's data files can contain. A primary's
// files follow its WAL. A standby's may lie far behind the WAL it has received:
// no page reaches its disk before the minimum recovery point covers it.
func dataEnd(c *pgcontrol.Control, endOfWAL pg.LSN) pg.LSN {
	if isStandby(c) {
		return max(c.MinRecoveryPoint, c.CheckPointCopy.Redo)
	}
	return endOfWAL
}

// replayStart is where the rewound node has to begin. Blocks that come from
// the source's disk contain what it had flushed at its last checkpoint and no
// more: where the source is a standby, or was promoted a moment ago, that may
// lie before the target's own last common checkpoint.
func replayStart(common Checkpoint, source *pgcontrol.Control) Checkpoint {
	s := source.CheckPointCopy
	if s.Redo < common.Redo {
		return Checkpoint{LSN: source.CheckPoint, Redo: s.Redo, Timeline: s.ThisTimeLineID}
	}
	return common
}
