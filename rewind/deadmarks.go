package rewind

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// A server that is promoted goes on with the redo position of its last
// restartpoint, which may be older than the last checkpoint that it has replayed,
// until its own first checkpoint begins. Up to then it logs no image of a page
// that was changed between the two when it marks index entries of rows dead
// that it has just deleted: as far as it knows such an image is in the WAL
// already. It is, but before the last common checkpoint, and where that restartpoint
// was is written nowhere. So such marks cannot be found in the WAL. They can be
// found on the pages, which takes reading all of them; that is done only where
// the target was promoted after the checkpoint and committed anything before its
// own first one began. Marks of rows that were inserted by transactions in
// progress are found as the inserting itself is (see findScanStart), and so are
// hints in tables.

// promotions watches the target's WAL for such a time.
type promotions struct {
	fork pg.LSN
	// timeline of the last record; watched, while it is one that began in the WAL
	// that is read and has had no checkpoint.
	timeline pg.Timeline
	watched  bool
	// commit is the first commit there behind the fork; zero for none.
	commit pg.LSN
	// found: there was one before the timeline's first checkpoint began.
	found bool
}

// add takes a record into account.
func (p *promotions) add(rec *pgwal.Record) error {
	if rec.Timeline != p.timeline {
		p.end(pg.MaxLSN)
		p.watched, p.timeline = p.timeline != 0, rec.Timeline
	}
	if !p.watched {
		return nil
	}
	if _, ok := rec.Checkpoint(); ok {
		c, err := parseCheckpoint(rec)
		p.end(c.Redo)
		return err
	}
	if x, ok, err := rec.XactEnd(); ok && err == nil && p.commit == 0 && rec.LSN >= p.fork &&
		(x.Kind == pgwal.XactCommit || x.Kind == pgwal.XactCommitPrepared) {
		p.commit = rec.LSN
	}
	return nil
}

// end closes the time before the checkpoint that begins at redo.
func (p *promotions) end(redo pg.LSN) {
	p.found = p.found || p.watched && p.commit != 0 && p.commit < redo
	p.watched, p.commit = false, 0
}

// addMarked adds the blocks of the target's that bear such marks, or that cannot
// be read as pages, to those that are to be fetched.
func (m *fileMap) addMarked(ctx context.Context, t *target, perSegment uint32, pages *pageMap) error {
	var rels []*joined
	for _, j := range m.files {
		if j.isRel && j.rel.Fork == pg.MainFork && j.rel.TempOwner < 0 && !j.unlogged && j.src != nil && j.dst != nil && j.dst.Kind == KindFile {
			rels = append(rels, j)
		}
	}
	marked := make([][]pg.BlockNo, len(rels))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(localWorkers())
	for i, j := range rels {
		g.Go(func() (err error) {
			marked[i], err = t.markedBlocks(ctx, j.path)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, j := range rels {
		for _, b := range marked[i] {
			pages.addBlock(j.rel.RelFileLocator, pg.BlockNo(j.rel.Segment*perSegment)+b)
		}
	}
	return nil
}

// markedBlocks reads one file; blocks are counted from its beginning.
func (t *target) markedBlocks(ctx context.Context, p string) (blocks []pg.BlockNo, err error) {
	f, err := t.open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Op: "read file", Path: p, Err: err}
	}
	defer closing(&err, f.Close)
	buf := make([]byte, 32*blockSize)
	for block := pg.BlockNo(0); ; {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(f, buf)
		for at := 0; at+blockSize <= n; at += blockSize {
			if pgpage.HasDeadItems(buf[at:at+blockSize], blockSize) {
				blocks = append(blocks, block)
			}
			block++
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return blocks, nil
		case err != nil:
			return nil, &Error{Op: "read file", Path: p, Err: err}
		}
	}
}
