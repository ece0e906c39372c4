package rewind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// sourceWAL opens segments where they are, at the source.
type sourceWAL struct {
	src     Source
	segSize uint32
}

// OpenSegment implements pgwal.SegmentOpener. The context must outlive the
// segment: reading it asks the source.
func (w sourceWAL) OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	s := &sourceSegment{ctx: ctx, src: w.src, path: "pg_wal/" + pg.SegmentName(tli, no, w.segSize)}
	return s, s.fill(0)
}

// sourceSegment is a segment at the source, read in pieces of MaxRange.
type sourceSegment struct {
	ctx  context.Context
	src  Source
	path string
	at   int64
	buf  []byte
}

// fill reads the piece that begins at off.
func (s *sourceSegment) fill(off int64) error {
	s.at, s.buf = off, s.buf[:0]
	return s.src.ReadRanges(s.ctx, []Range{{Path: s.path, Offset: off, Length: MaxRange}}, func(c Chunk) error {
		if c.Missing {
			return &MissingWALError{Name: s.path, Err: fs.ErrNotExist}
		}
		s.buf = append(s.buf, c.Data...)
		return nil
	})
}

// ReadAt implements io.ReaderAt.
func (s *sourceSegment) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at < s.at || at >= s.at+int64(len(s.buf)) {
			if err := s.fill(at &^ (MaxRange - 1)); err != nil {
				return n, err
			}
		}
		if at >= s.at+int64(len(s.buf)) {
			return n, io.ErrUnexpectedEOF
		}
		n += copy(p[n:], s.buf[at-s.at:])
	}
	return n, nil
}

// Close implements io.Closer.
func (s *sourceSegment) Close() error { return nil }

// imagesComplete tells whether full_page_writes was on all the time from one
// position to another, both before the fork and not far apart: the redo position
// of a checkpoint and its record. The record says what held at the redo position,
// and a change in between is a record of its own, which a search that begins
// at the checkpoint's would not meet.
func (pl *planner) imagesComplete(ctx context.Context, from, to pg.LSN) (complete bool, err error) {
	if from >= to {
		return true, nil
	}
	o := walOptions(pl.target)
	size := o.SegmentSize
	// From before the fork the source's segments of the same name hold the same.
	o.Open = eitherWAL{targetWAL{t: pl.t, segSize: size}, sourceWAL{src: pl.engine.Source, segSize: size}}
	r := pgwal.NewReader(o)
	defer closing(&err, r.Close)
	if err := r.Seek(from); err != nil {
		return false, &Error{Op: "read WAL", LSN: from, Err: err}
	}
	for {
		rec, err := r.Next(ctx)
		if err != nil {
			return false, commonWALError(from, err)
		}
		if on, ok := rec.FullPageWrites(); ok && !on {
			return false, nil
		}
		if rec.LSN >= to {
			return true, nil
		}
	}
}

func commonWALError(from pg.LSN, err error) error {
	var end *pgwal.EndError
	if errors.As(err, &end) {
		err = fmt.Errorf("%w: %w", endedBy(end), err)
	}
	return &Error{Op: "read the WAL of the last common checkpoint", LSN: from, Err: err,
		Advice: "copy the missing segments from the WAL archive into pg_wal, or take a new base backup"}
}
