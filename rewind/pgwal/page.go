package pgwal

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// DefaultPageSize is XLOG_BLCKSZ as nearly all servers are built.
const DefaultPageSize = 8192

// Sizes of page headers (SizeOfXLogShortPHD and SizeOfXLogLongPHD).
const (
	shortHeaderSize = 24
	longHeaderSize  = 40
)

// Flags in a page header (XLP_* in access/xlog_internal.h).
const (
	// pageContRecord: the page begins with the rest of a record.
	pageContRecord = 0x0001
	// pageLongHeader: the first page of a segment.
	pageLongHeader = 0x0002
	// pageBkpRemovable: full page images on it may be compressed away.
	pageBkpRemovable = 0x0004
	// pageOverwriteContRecord: the record that should go on here was given up
	// after a crash (13.5, and 14 and later).
	pageOverwriteContRecord = 0x0008

	pageKnownFlags = pageContRecord | pageLongHeader | pageBkpRemovable | pageOverwriteContRecord
)

// PageHeader is the header of a WAL page (XLogPageHeaderData and
// XLogLongPageHeaderData in access/xlog_internal.h, the same from 13 to 18):
//
//	 0  u16  magic, one for each major version
//	 2  u16  flags
//	 4  u32  timeline
//	 8  u64  address of the page
//	16  u32  bytes of a continued record that are still to come
//	24  u64  system identifier      first page of a segment only
//	32  u32  segment size           first page of a segment only
//	36  u32  page size              first page of a segment only
type PageHeader struct {
	Magic    uint16
	Flags    uint16
	Timeline pg.Timeline
	Addr     pg.LSN
	RemLen   uint32

	SystemID    pg.SystemID
	SegmentSize uint32
	PageSize    uint32
}

// Size is the number of bytes that the header takes.
func (h *PageHeader) Size() int {
	if h.Flags&pageLongHeader != 0 {
		return longHeaderSize
	}
	return shortHeaderSize
}

func (h *PageHeader) continues() bool { return h.Flags&pageContRecord != 0 }

func (h *PageHeader) overwrites() bool { return h.Flags&pageOverwriteContRecord != 0 }

// ParsePageHeader reads the header at the beginning of a page and refuses one
// that no supported version writes. Whether it belongs where it was found is
// not asked here.
func ParsePageHeader(b []byte) (PageHeader, error) {
	if len(b) < longHeaderSize {
		return PageHeader{}, fmt.Errorf("parse WAL page header: %d bytes are too few", len(b))
	}
	h := decodePageHeader(b)
	if _, ok := MajorOfMagic(h.Magic); !ok {
		return h, fmt.Errorf("parse WAL page header: magic %04X is of no supported version", h.Magic)
	}
	if h.Flags&^pageKnownFlags != 0 {
		return h, fmt.Errorf("parse WAL page header: unknown flags %04X", h.Flags)
	}
	return h, nil
}

// decodePageHeader takes a page of at least longHeaderSize bytes apart.
func decodePageHeader(b []byte) PageHeader {
	h := PageHeader{
		Magic:    binary.LittleEndian.Uint16(b),
		Flags:    binary.LittleEndian.Uint16(b[2:]),
		Timeline: pg.Timeline(binary.LittleEndian.Uint32(b[4:])),
		Addr:     pg.LSN(binary.LittleEndian.Uint64(b[8:])),
		RemLen:   binary.LittleEndian.Uint32(b[16:]),
	}
	if h.Flags&pageLongHeader != 0 {
		h.SystemID = pg.SystemID(binary.LittleEndian.Uint64(b[24:]))
		h.SegmentSize = binary.LittleEndian.Uint32(b[32:])
		h.PageSize = binary.LittleEndian.Uint32(b[36:])
	}
	return h
}

// MajorOfMagic tells which version writes pages with this magic
// (XLOG_PAGE_MAGIC).
func MajorOfMagic(magic uint16) (pg.Major, bool) {
	switch magic {
	case 0xD106:
		return 13, true
	case 0xD10D:
		return 14, true
	case 0xD110:
		return 15, true
	case 0xD113:
		return 16, true
	case 0xD116:
		return 17, true
	case 0xD118:
		return 18, true
	}
	return 0, false
}

// checkPage tells whether the page is what has to be at addr; if not, which
// kind of end it makes. Only a page that is intact and of earlier WAL makes a
// clean one: a header with one wrong field could be anything.
func (r *Reader) checkPage(b []byte, addr pg.LSN) (PageHeader, *EndError) {
	h := decodePageHeader(b)
	if h.Magic == 0 && allZero(b) {
		return h, end(EndClean, addr, "the page was never written")
	}
	if major, _ := MajorOfMagic(h.Magic); major != r.opt.Major {
		return h, end(EndDamaged, addr, "page magic %04X is not that of PostgreSQL %d", h.Magic, r.opt.Major)
	}
	if h.Flags&^pageKnownFlags != 0 {
		return h, end(EndDamaged, addr, "page with unknown flags %04X", h.Flags)
	}
	if e := r.checkLongHeader(&h, addr); e != nil {
		return h, e
	}
	if h.Addr != addr {
		if h.Addr < addr && (addr-h.Addr)%pg.LSN(r.opt.SegmentSize) == 0 {
			return h, end(EndClean, addr, "page of an older use of the segment, then at %s", h.Addr)
		}
		return h, end(EndDamaged, addr, "page that says it is at %s", h.Addr)
	}
	// A segment of an abandoned timeline may be recycled under the same number
	// on the new one: right address, older timeline.
	switch want := r.opt.History.At(addr); {
	case h.Timeline == 0 || h.Timeline > want:
		return h, end(EndDamaged, addr, "page of timeline %d instead of %d", h.Timeline, want)
	case h.Timeline < want:
		return h, end(EndClean, addr, "page of an older use of the segment, on timeline %d", h.Timeline)
	}
	return h, nil
}

// checkLongHeader checks what only the first page of a segment says.
func (r *Reader) checkLongHeader(h *PageHeader, addr pg.LSN) *EndError {
	first, long := addr%pg.LSN(r.opt.SegmentSize) == 0, h.Flags&pageLongHeader != 0
	switch {
	case first != long:
		return end(EndDamaged, addr, "page with the wrong kind of header")
	case !long:
		return nil
	case r.opt.SystemID != 0 && h.SystemID != r.opt.SystemID:
		return end(EndDamaged, addr, "WAL of another cluster, with system identifier %s instead of %s", h.SystemID, r.opt.SystemID)
	case h.SegmentSize != r.opt.SegmentSize:
		return end(EndDamaged, addr, "page of a segment of %d bytes instead of %d", h.SegmentSize, r.opt.SegmentSize)
	case h.PageSize != r.opt.PageSize:
		return end(EndDamaged, addr, "page of %d bytes instead of %d", h.PageSize, r.opt.PageSize)
	}
	return nil
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
