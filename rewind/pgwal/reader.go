package pgwal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

const (
	// chunkSize is how much is read from a segment at once. Larger ones are not
	// faster; smaller segments than this do not exist.
	chunkSize = 256 << 10
	// keepBuffer is the largest buffer for records over several pages that is
	// kept for the next one.
	keepBuffer = 4 << 20
	// maxRecordSize is the most that a server could read back: palloc's limit.
	// (XLogRecordMaxSize, with which 16 and later write, is a little less.)
	maxRecordSize = 1<<30 - 1
)

// Options of a Reader. All but SystemID and PageSize are required.
type Options struct {
	// SegmentSize in bytes, a power of two from 1 MB to 1 GB.
	SegmentSize uint32
	// PageSize in bytes (XLOG_BLCKSZ); DefaultPageSize if zero.
	PageSize uint32
	// SystemID that the WAL must bear; any if zero.
	SystemID pg.SystemID
	// Major is the version that wrote the WAL, 13 to 18.
	Major pg.Major
	// History says on which timeline each position is to be read.
	History pg.History
	// Open opens segments.
	Open SegmentOpener
}

func (o *Options) check() error {
	switch {
	case o.SegmentSize < 1<<20 || o.SegmentSize > 1<<30 || o.SegmentSize&(o.SegmentSize-1) != 0:
		return fmt.Errorf("read WAL: segment size %d is not a power of two from 1 MB to 1 GB", o.SegmentSize)
	case o.PageSize < 1<<10 || o.PageSize > 64<<10 || o.PageSize&(o.PageSize-1) != 0:
		return fmt.Errorf("read WAL: page size %d is not a power of two from 1 kB to 64 kB", o.PageSize)
	case o.Major < 13 || o.Major > 18:
		return fmt.Errorf("read WAL: PostgreSQL %d is not supported", o.Major)
	case len(o.History) == 0:
		return errors.New("read WAL: no timeline history")
	case o.Open == nil:
		return errors.New("read WAL: nothing to open segments with")
	}
	return nil
}

// Reader reads records one after the other. It is not safe for concurrent use.
type Reader struct {
	opt Options
	err error // what is wrong with opt

	seg openSegment
	// chunk is what was read of seg, from chunkAt on.
	chunk   []byte
	chunkAt pg.LSN
	page    page
	// firstPage is the buffer for first pages when reading begins behind them.
	firstPage []byte

	// next is where the next record is expected, prev where the last one began;
	// prev is zero after a seek.
	next, prev pg.LSN
	// whole holds a record that lies on several pages.
	whole []byte
	rec   Record
	table *crc32.Table
}

// page is a page whose header was checked. bytes is nil for none.
type page struct {
	header PageHeader
	addr   pg.LSN
	bytes  []byte
}

// NewReader makes a reader; wrong options are reported by its first use. Seek or
// SeekSegment has to be called before Next.
func NewReader(o Options) *Reader {
	if o.PageSize == 0 {
		o.PageSize = DefaultPageSize
	}
	r := &Reader{opt: o, err: o.check(), table: crc32.MakeTable(crc32.Castagnoli)}
	if r.err == nil {
		r.firstPage = make([]byte, o.PageSize)
	}
	return r
}

// Major is the version that Options named.
func (r *Reader) Major() pg.Major { return r.opt.Major }

// Close closes the current segment. The reader may be used again after a seek.
func (r *Reader) Close() error {
	r.next = 0
	return r.leave()
}

// Seek makes lsn the position of the next record: the start of a record, or the
// end of one. Nothing is read yet.
func (r *Reader) Seek(lsn pg.LSN) error {
	if r.err != nil {
		return r.err
	}
	if lsn == 0 || lsn%8 != 0 {
		return fmt.Errorf("seek in WAL: no record begins at %s", lsn)
	}
	r.next, r.prev = lsn, 0
	return nil
}

// SeekSegment makes the first record that begins in the segment the next one.
// ErrNoRecord: none does. An *EndError: the segment is missing, or was not
// written up to a place where a record could begin.
func (r *Reader) SeekSegment(ctx context.Context, no pg.SegmentNo) error {
	if r.err != nil {
		return r.err
	}
	first, last, ok := r.segmentRange(no)
	if !ok {
		return fmt.Errorf("seek in WAL: there is no segment %d", no)
	}
	pageSize := pg.LSN(r.opt.PageSize)
	for addr := first; addr < last; addr += pageSize {
		if err := r.load(ctx, addr); err != nil {
			if addr > first {
				err = brokenOff(err)
			}
			return r.stop(err, addr)
		}
		h := &r.page.header
		data := addr + pg.LSN(h.Size())
		if !h.continues() {
			r.next, r.prev = data, 0
			return nil
		}
		if h.RemLen == 0 {
			return r.stop(end(EndDamaged, addr, "page that continues a record by no bytes"), addr)
		}
		if after := data + align8(h.RemLen); after < addr+pageSize {
			r.next, r.prev = after, 0
			return nil
		}
	}
	return fmt.Errorf("seek in WAL: segment %d: %w", no, ErrNoRecord)
}

// Next returns the next record. It is valid until the following call on r.
//
// An *EndError leaves the position unchanged: the call can be repeated when the
// WAL has grown.
func (r *Reader) Next(ctx context.Context) (*Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.next == 0 {
		return nil, errors.New("read WAL: no position to read from")
	}
	if cap(r.whole) > keepBuffer {
		r.whole = nil
	}
	if err := r.read(ctx, r.next); err != nil {
		var o *overwritten
		if errors.As(err, &o) {
			err = r.readOverwriting(ctx, o)
		}
		if err != nil {
			return nil, r.stop(err, r.next)
		}
	}
	r.prev, r.next = r.rec.LSN, r.rec.End
	return &r.rec, nil
}

// stop says in an EndError where reading had come to, and sees to it that
// another attempt reads the files anew.
func (r *Reader) stop(err error, at pg.LSN) error {
	r.forget()
	var e *EndError
	if errors.As(err, &e) {
		e.LSN = at
	}
	return err
}

// overwritten says that the record at lsn was given up after a crash, and that
// the log goes on at the page at.
type overwritten struct{ lsn, at pg.LSN }

func (o *overwritten) Error() string {
	return fmt.Sprintf("WAL record at %s was given up, WAL goes on at %s", o.lsn, o.at)
}

// readOverwriting reads on where a record was given up. The record there has to
// say which one it replaces.
func (r *Reader) readOverwriting(ctx context.Context, o *overwritten) error {
	err := r.read(ctx, o.at)
	var again *overwritten
	if errors.As(err, &again) {
		return end(EndDamaged, o.at, "the record that replaces the one at %s is given up itself", o.lsn)
	}
	if err != nil {
		return err
	}
	if !r.rec.is(RmgrXLOG, opOverwriteContRecord) || len(r.rec.Main) < 8 ||
		pg.LSN(binary.LittleEndian.Uint64(r.rec.Main)) != o.lsn {
		return end(EndDamaged, r.rec.LSN, "the record does not say that it replaces the one at %s", o.lsn)
	}
	return nil
}

// read reads the record at pos, which may be a page boundary, into r.rec.
func (r *Reader) read(ctx context.Context, pos pg.LSN) error {
	addr := pos &^ pg.LSN(r.opt.PageSize-1)
	if err := r.load(ctx, addr); err != nil {
		return err
	}
	h := &r.page.header
	switch off := int(pos - addr); {
	case off == 0 && h.continues():
		return end(EndDamaged, pos, "the page continues a record that did not begin")
	case off == 0:
		pos += pg.LSN(h.Size())
	case off < h.Size():
		return fmt.Errorf("read WAL: %s lies in a page header", pos)
	}
	if pos >= r.seg.limit {
		return r.switched(pos)
	}
	b, after, err := r.bytes(ctx, pos)
	if err != nil {
		return err
	}
	return r.accept(b, pos, after)
}

// switched is the end of a segment file of an older timeline.
func (r *Reader) switched(at pg.LSN) *EndError {
	return end(EndMissing, at, "segment %d of the timeline that begins at %s is not there", r.seg.no, r.seg.limit)
}

// bytes gives the whole record at pos, which lies on the current page, and the
// position behind it.
func (r *Reader) bytes(ctx context.Context, pos pg.LSN) (b []byte, after pg.LSN, err error) {
	rest := r.page.bytes[pos-r.page.addr:]
	length := binary.LittleEndian.Uint32(rest)
	switch {
	case length == 0 && allZero(rest[:min(len(rest), recordHeaderSize)]):
		return nil, 0, end(EndClean, pos, "no record was written here")
	case length < recordHeaderSize || length > maxRecordSize:
		return nil, 0, end(EndDamaged, pos, "record of %d bytes", length)
	case len(rest) >= recordHeaderSize && !Rmgr(rest[17]).valid(r.opt.Major):
		return nil, 0, end(EndDamaged, pos, "record of an unknown resource manager %d", rest[17])
	case uint64(length) <= uint64(len(rest)):
		return rest[:length], pos + align8(length), nil
	}
	return r.gather(ctx, pos, length)
}

// gather puts together a record that lies on several pages. Each page confirms
// how much is still to come before memory is spent on it.
func (r *Reader) gather(ctx context.Context, pos pg.LSN, length uint32) ([]byte, pg.LSN, error) {
	addr := r.page.addr
	r.whole = append(r.whole[:0], r.page.bytes[pos-addr:]...)
	for {
		addr += pg.LSN(r.opt.PageSize)
		if err := r.load(ctx, addr); err != nil {
			return nil, 0, brokenOff(err)
		}
		h := &r.page.header
		missing := length - uint32(len(r.whole))
		switch {
		case h.overwrites() && !h.continues():
			return nil, 0, &overwritten{lsn: pos, at: addr}
		case !h.continues():
			return nil, 0, end(EndDamaged, addr, "the record is not continued on the next page")
		case h.RemLen != missing:
			return nil, 0, end(EndDamaged, addr, "the page continues a record by %d bytes instead of %d", h.RemLen, missing)
		}
		data := r.page.bytes[h.Size():]
		if uint64(missing) <= uint64(len(data)) {
			r.whole = append(r.whole, data[:missing]...)
			return r.whole, addr + pg.LSN(h.Size()) + align8(missing), nil
		}
		r.whole = append(r.whole, data...)
	}
}

// brokenOff makes of a clean end within a record what it is.
func brokenOff(err error) error {
	var e *EndError
	if errors.As(err, &e) && e.Kind == EndClean {
		return end(EndDamaged, e.At, "the record is broken off: %s", e.Reason)
	}
	return err
}

// accept checks the record and takes it apart. An intact one that does not
// follow the last one was written in an earlier life of the log: no damage
// brings a right checksum about.
func (r *Reader) accept(b []byte, pos, after pg.LSN) error {
	if !recordSumOK(b, r.table) {
		return end(EndDamaged, pos, "the record's checksum is wrong")
	}
	if err := r.rec.decode(b, r.opt.Major); err != nil {
		return &EndError{At: pos, Kind: EndDamaged, Reason: "the record cannot be taken apart", Err: err}
	}
	switch prev := r.rec.Prev; {
	case prev >= pos:
		return end(EndDamaged, pos, "the record says that it follows the one at %s", prev)
	case r.prev != 0 && prev != r.prev:
		return end(EndClean, pos, "record of an older use of the page: it follows the one at %s, not at %s", prev, r.prev)
	}
	if r.rec.IsSwitch() {
		size := pg.LSN(r.opt.SegmentSize)
		after = (after + size - 1) &^ (size - 1)
	}
	if after > r.seg.limit {
		return r.switched(pos)
	}
	r.rec.LSN, r.rec.End = pos, after
	r.rec.Timeline = r.opt.History.At(pos)
	return nil
}

// load makes the page at addr the current one.
func (r *Reader) load(ctx context.Context, addr pg.LSN) error {
	if r.page.bytes != nil && r.page.addr == addr {
		return nil
	}
	r.page.bytes = nil
	b, err := r.buffered(ctx, addr)
	if err != nil {
		return err
	}
	if addr >= r.seg.limit {
		return r.switched(addr)
	}
	h, e := r.checkPage(b, addr)
	if e != nil {
		return e
	}
	r.page = page{header: h, addr: addr, bytes: b}
	return nil
}

// buffered gives the bytes of a page, reading a chunk of its segment if needed.
func (r *Reader) buffered(ctx context.Context, addr pg.LSN) ([]byte, error) {
	size := pg.LSN(r.opt.PageSize)
	if addr < r.chunkAt || addr-r.chunkAt >= pg.LSN(len(r.chunk)) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if err := r.enter(ctx, r.segmentNo(addr)); err != nil {
			return nil, err
		}
		_, last, _ := r.segmentRange(r.seg.no)
		n := min(last-addr+1, chunkSize)
		if cap(r.chunk) == 0 {
			r.chunk = make([]byte, chunkSize)
		}
		r.chunkAt, r.chunk = addr, r.chunk[:n]
		if err := r.readFile(r.chunk, addr); err != nil {
			r.forget()
			return nil, err
		}
	}
	off := addr - r.chunkAt
	return r.chunk[off : off+size : off+size], nil
}

func align8(n uint32) pg.LSN { return pg.LSN((uint64(n) + 7) &^ 7) }
