package pgwal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Segment is an open WAL segment.
type Segment interface {
	io.ReaderAt
	io.Closer
}

// SegmentOpener opens WAL segments by timeline and number.
type SegmentOpener interface {
	// OpenSegment opens a segment of exactly the size that the Reader was given.
	// The error matches fs.ErrNotExist when there is no such segment.
	OpenSegment(ctx context.Context, tli pg.Timeline, no pg.SegmentNo) (Segment, error)
}

// openSegment is the segment that a Reader has at hand.
type openSegment struct {
	file Segment
	tli  pg.Timeline
	no   pg.SegmentNo
	// limit is where the timeline of the file ends in the history, when the file
	// of the newer one is missing: what lies behind is of another branch.
	limit pg.LSN
}

// segmentNo is the segment that holds the byte at lsn.
func (r *Reader) segmentNo(lsn pg.LSN) pg.SegmentNo {
	return pg.SegmentNo(lsn / pg.LSN(r.opt.SegmentSize))
}

// segmentRange gives first and last byte of a segment; ok is false for a number
// that no WAL position has.
func (r *Reader) segmentRange(no pg.SegmentNo) (first, last pg.LSN, ok bool) {
	size := uint64(r.opt.SegmentSize)
	if uint64(no) > math.MaxUint64/size-1 {
		return 0, 0, false
	}
	first = pg.LSN(uint64(no) * size)
	return first, first + pg.LSN(size-1), true
}

// open opens the file that holds a segment in the history: that of the newest
// timeline which begins in or before it, or of an older one where that is
// missing. (Up to a switch both hold the same.)
func (r *Reader) open(ctx context.Context, no pg.SegmentNo) error {
	first, last, ok := r.segmentRange(no)
	if !ok {
		return fmt.Errorf("open WAL segment: there is no segment %d", no)
	}
	var missing error
	limit := pg.MaxLSN
	for i := len(r.opt.History) - 1; i >= 0; i-- {
		e := r.opt.History[i]
		if e.Begin > last {
			continue
		}
		if e.End <= first {
			break
		}
		f, err := r.opt.Open.OpenSegment(ctx, e.Timeline, no)
		if err == nil {
			r.seg = openSegment{file: f, tli: e.Timeline, no: no, limit: limit}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("open WAL segment %d of timeline %d: %w", no, e.Timeline, err)
		}
		if missing == nil {
			missing = err
		}
		limit = e.Begin
	}
	return &EndError{At: first, Kind: EndMissing, Reason: fmt.Sprintf("segment %d is not there", no), Err: missing}
}

// enter makes the segment the current one and checks its first page, also when
// another page is wanted: it is what tells whose WAL the file holds.
func (r *Reader) enter(ctx context.Context, no pg.SegmentNo) error {
	if r.seg.file != nil && r.seg.no == no {
		return nil
	}
	if err := r.leave(); err != nil {
		return err
	}
	if err := r.open(ctx, no); err != nil {
		return err
	}
	first, _, _ := r.segmentRange(no)
	b := r.firstPage[:r.opt.PageSize]
	if err := r.readFile(b, first); err != nil {
		return errors.Join(err, r.leave())
	}
	if _, e := r.checkPage(b, first); e != nil {
		if err := r.leave(); err != nil {
			return err
		}
		return e
	}
	return nil
}

// leave closes the current segment and forgets what was read of it.
func (r *Reader) leave() error {
	r.forget()
	f := r.seg.file
	r.seg = openSegment{}
	if f == nil {
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close WAL segment: %w", err)
	}
	return nil
}

// forget drops the buffered pages.
func (r *Reader) forget() {
	r.chunk, r.page.bytes = r.chunk[:0], nil
}

// readFile reads from the current segment. A file that is too short breaks the
// opener's promise: that is no end of the log.
func (r *Reader) readFile(b []byte, at pg.LSN) error {
	off := int64(at % pg.LSN(r.opt.SegmentSize))
	n, err := r.seg.file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read WAL segment %d of timeline %d at offset %d: %w", r.seg.no, r.seg.tli, off, err)
}

// Written tells whether the segment was written: whether its first page is the
// one that belongs there. An error other than that the segment is missing
// counts as written, because it proves nothing. It does not move the reader.
//
// PostgreSQL syncs a segment before it writes the next one, so a segment that
// was written proves that the WAL before it had been complete.
func (r *Reader) Written(ctx context.Context, no pg.SegmentNo) bool {
	if r.err != nil {
		return true
	}
	if _, _, ok := r.segmentRange(no); !ok {
		return false
	}
	probe := NewReader(r.opt)
	err := errors.Join(probe.enter(ctx, no), probe.Close())
	var e *EndError
	return !errors.As(err, &e)
}
