package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// What lies behind the end of the WAL of a primary that crashed can be more of
// it, behind a gap. PostgreSQL's recovery ends at the gap and asks no further. It
// is right where the gap comes from a loss of power: what was not flushed
// counts for nothing, also if some of it has reached the disk, and no page of
// data goes to disk before the WAL that changed it was flushed. It is wrong where
// flushed WAL was damaged later: then pages on disk hold changes of which only
// the records behind the gap tell. This very rule tells the two apart. If a page
// that a record behind the gap names bears a position behind the gap, the WAL had
// been flushed up to there.

// checkGap refuses the end of the WAL if it is damage, and tells whether anything
// lies behind it at all.
func (s *scanner) checkGap(ctx context.Context, end *pgwal.EndError) (gap bool, err error) {
	c := s.node.control
	if c.State == pgcontrol.StateShutDown || isStandby(c) {
		return false, nil // the one ends with its checkpoint, the other's files no later than its minimum recovery point
	}
	r := newWALReader(s.t, s.node)
	defer closing(&err, r.Close)
	behind := &scanner{out: changes{pages: newPageMap()}}
	for at := end.At; ; {
		found, err := r.SeekBehind(ctx, at)
		if err != nil {
			return gap, notAnEnd(err)
		}
		if !found {
			return gap, nil
		}
		gap = true
		if at, err = behind.rest(ctx, r, at); err != nil {
			return gap, err
		}
		if loc, block, damaged := s.writtenSince(behind.out.pages, end.LSN); damaged {
			return gap, &Error{Op: "read WAL", LSN: end.LSN,
				Err:    fmt.Errorf("%w: it goes on behind a gap, and block %d of relation %s was changed there: %w", ErrDamaged, block, loc, end),
				Advice: "copy the segment from the WAL archive into pg_wal, or take a new base backup"}
		}
	}
}

// rest collects what the records up to the next obstacle name, and tells where
// that is.
func (s *scanner) rest(ctx context.Context, r *pgwal.Reader, at pg.LSN) (pg.LSN, error) {
	for {
		rec, err := r.Next(ctx)
		var stop *pgwal.EndError
		switch {
		case errors.As(err, &stop):
			return max(at+blockSize, stop.At), nil
		case err != nil:
			return at, &Error{Op: "read WAL", LSN: at, Err: err}
		}
		for i := range rec.Blocks {
			if b := &rec.Blocks[i]; b.Fork == pg.MainFork {
				s.out.pages.addBlock(b.Locator, b.Block)
			}
		}
		at = rec.LSN
	}
}

// writtenSince finds one of the pages that bears a position behind lsn.
func (s *scanner) writtenSince(pages *pageMap, lsn pg.LSN) (loc pg.RelFileLocator, block pg.BlockNo, found bool) {
	for l, r := range pages.rels {
		for b := range r.set.all {
			if at, err := s.pageLSN(l, b); err == nil && at > lsn {
				return l, pg.BlockNo(b), true
			}
		}
	}
	return loc, 0, false
}

// pageLSN reads the position that a page of the target's bears; zero for one that
// is none.
func (s *scanner) pageLSN(l pg.RelFileLocator, block uint64) (lsn pg.LSN, err error) {
	perSegment := uint64(s.node.control.RelSegSize)
	p := pg.RelPath(l, pg.MainFork, uint32(block/perSegment), s.node.control.Major())
	f, err := s.t.open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closing(&err, f.Close)
	page := make([]byte, blockSize)
	if n, _ := f.ReadAt(page, int64(block%perSegment)*blockSize); n < len(page) || !pgpage.Valid(page, blockSize) {
		return 0, nil
	}
	h, err := pgpage.ParseHeader(page)
	return h.LSN, err
}
