package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// targetWAL opens the target's WAL segments, wherever they are (see openWAL).
type targetWAL struct {
	t       *target
	segSize uint32
	// noArchive: only what lies in the directory.
	noArchive bool
	// upTo, if not zero, leaves out segments that end behind it.
	upTo pg.LSN
}

var _ pgwal.SegmentOpener = targetWAL{}

// OpenSegment implements pgwal.SegmentOpener.
func (w targetWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	name := pg.SegmentName(tli, no, w.segSize)
	if w.upTo != 0 && (no+1).Start(w.segSize) > w.upTo {
		return nil, &MissingWALError{Name: name, Err: fs.ErrNotExist}
	}
	open := w.t.openWAL
	if w.noArchive {
		open = func(_ context.Context, name string) (*os.File, error) { return w.t.openOwnWAL(name) }
	}
	f, err := open(ctx, name)
	if err != nil {
		return nil, err
	}
	return checkSegmentSize(f, name, w.segSize)
}

// has tells whether the directory has the segment, on whichever timeline of a history.
func (w targetWAL) has(h pg.History, no pg.SegmentNo) bool {
	for _, e := range h {
		f, err := w.t.openOwnWAL(pg.SegmentName(e.Timeline, no, w.segSize))
		if err == nil {
			return f.Close() == nil
		}
	}
	return false
}

// stagedWAL opens the source's segments that were fetched and wait to be moved in.
type stagedWAL struct {
	t       *target
	segSize uint32
}

// OpenSegment implements pgwal.SegmentOpener.
func (w stagedWAL) OpenSegment(_ context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	name := pg.SegmentName(tli, no, w.segSize)
	f, err := w.t.open(stagedDir + "/" + name)
	if err != nil {
		return nil, err
	}
	return checkSegmentSize(f, name, w.segSize)
}

func checkSegmentSize(f *os.File, name string, segSize uint32) (pgwal.Segment, error) {
	fi, err := f.Stat()
	if err == nil && fi.Size() != int64(segSize) {
		err = &Error{Op: "open WAL segment", Path: "pg_wal/" + name, Err: fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, fi.Size(), segSize),
			Advice: "copy the segment from the WAL archive into pg_wal, or take a new base backup"}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// newWALReader reads the target's WAL along its own history.
func newWALReader(t *target, n node) *pgwal.Reader {
	return walReaderFrom(targetWAL{t: t, segSize: n.control.WALSegSize}, n)
}

// walReaderFrom reads the WAL of a node from wherever its segments are opened.
func walReaderFrom(open pgwal.SegmentOpener, n node) *pgwal.Reader {
	o := walOptions(n)
	o.Open = open
	return pgwal.NewReader(o)
}

// walOptions are those of a reader of a node's WAL, but for where it is.
func walOptions(n node) pgwal.Options {
	return pgwal.Options{
		SegmentSize: n.control.WALSegSize,
		PageSize:    n.control.WALBlockSize,
		SystemID:    n.control.SystemIdentifier,
		Major:       n.control.Major(),
		History:     n.history,
	}
}

// archivedWAL opens segments in the target's archive.
type archivedWAL struct {
	t       *target
	segSize uint32
}

// OpenSegment implements pgwal.SegmentOpener.
func (w archivedWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	name := pg.SegmentName(tli, no, w.segSize)
	if w.t.archive == nil {
		return nil, &MissingWALError{Name: name, Err: fs.ErrNotExist}
	}
	f, err := w.t.archive.open(ctx, name)
	if err != nil {
		return nil, err
	}
	return checkSegmentSize(f, name, w.segSize)
}

// eitherWAL opens a segment in the first place that has it.
type eitherWAL []pgwal.SegmentOpener

// OpenSegment implements pgwal.SegmentOpener.
func (w eitherWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (s pgwal.Segment, err error) {
	for _, o := range w {
		if s, err = o.OpenSegment(ctx, tli, no); !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	return nil, err
}
