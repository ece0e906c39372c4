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

// targetWAL opens the target's WAL segments. What an interrupted run moved
// aside counts as if it still were in pg_wal, and comes first: in pg_wal there
// may by now be a segment of the source with the same name.
type targetWAL struct {
	t       *target
	segSize uint32
}

var _ pgwal.SegmentOpener = targetWAL{}

// OpenSegment implements pgwal.SegmentOpener.
func (w targetWAL) OpenSegment(_ context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	name := pg.SegmentName(tli, no, w.segSize)
	f, err := w.t.open(asideDir + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = w.t.open("pg_wal/" + name)
	}
	if err != nil {
		return nil, err
	}
	return checkSegmentSize(f, name, w.segSize)
}

func checkSegmentSize(f *os.File, name string, segSize uint32) (pgwal.Segment, error) {
	fi, err := f.Stat()
	if err == nil && fi.Size() != int64(segSize) {
		err = &Error{Op: "open WAL segment", Path: "pg_wal/" + name, Err: fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, fi.Size(), segSize)}
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
