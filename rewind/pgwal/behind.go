package pgwal

import (
	"context"
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// SeekBehind makes the first record the next one that begins behind the page
// with at, in the same segment, on a page that bears the right address and
// timeline. It tells whether there is one.
//
// At the end of the log there is none: pages behind it are zeros, or of an older
// use of the segment. Where there is one, more was written than can be read on
// from here: something is damaged, or the machine lost its power when later
// pages had reached the disk and one before them had not, or the pages were left
// by an earlier crash of that kind. Nothing in the log tells these apart.
func (r *Reader) SeekBehind(ctx context.Context, at pg.LSN) (bool, error) {
	if r.err != nil {
		return false, r.err
	}
	no := r.segmentNo(at)
	if err := r.enterUnchecked(ctx, no); err != nil {
		return false, err
	}
	_, last, _ := r.segmentRange(no)
	size := pg.LSN(r.opt.PageSize)
	for addr := at&^(size-1) + size; addr < last; addr += size {
		err := r.load(ctx, addr)
		var e *EndError
		if errors.As(err, &e) {
			continue
		}
		if err != nil {
			return false, err
		}
		h := &r.page.header
		begin := addr + pg.LSN(h.Size())
		if h.continues() {
			begin += align8(h.RemLen)
		}
		if begin < addr+size {
			r.next, r.prev = begin, 0
			return true, nil
		}
	}
	return false, nil
}

// enterUnchecked makes the segment the current one even if its first page is not
// what it should be. A segment that is missing counts as one without pages.
func (r *Reader) enterUnchecked(ctx context.Context, no pg.SegmentNo) error {
	if _, _, ok := r.segmentRange(no); !ok {
		return fmt.Errorf("seek in WAL: there is no segment %d", no)
	}
	if err := r.leave(); err != nil {
		return err
	}
	return r.open(ctx, no)
}
