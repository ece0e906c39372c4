package rewind

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// targetWAL opens the target's WAL segments, wherever they are (see openWAL).
type targetWAL struct {
	t       *target
	segSize uint32
}

var _ pgwal.SegmentOpener = targetWAL{}

// OpenSegment implements pgwal.SegmentOpener.
func (w targetWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	name := pg.SegmentName(tli, no, w.segSize)
	f, err := w.t.openWAL(ctx, name)
	if err != nil {
		return nil, err
	}
	return checkSegmentSize(f, name, w.segSize)
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
	return pgwal.NewReader(pgwal.Options{
		SegmentSize: n.control.WALSegSize,
		PageSize:    n.control.WALBlockSize,
		SystemID:    n.control.SystemIdentifier,
		Major:       n.control.Major(),
		History:     n.history,
		Open:        targetWAL{t: t, segSize: n.control.WALSegSize},
	})
}
