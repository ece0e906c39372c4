package pgpage

import (
	"encoding/binary"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// HeaderSize is the length of a page's header in bytes (SizeOfPageHeaderData).
const HeaderSize = 24

// layoutVersion is PG_PAGE_LAYOUT_VERSION since PostgreSQL 8.3.
const layoutVersion = 4

// validFlags are the bits that pd_flags may have: PD_HAS_FREE_LINES,
// PD_PAGE_FULL and PD_ALL_VISIBLE.
const validFlags = 0x0007

// Header is the header of a page (PageHeaderData):
//
//	 0 pd_lsn       upper half, lower half      12 pd_lower
//	 8 pd_checksum                              14 pd_upper
//	10 pd_flags                                 16 pd_special
//	18 pd_pagesize_version                      20 pd_prune_xid
type Header struct {
	// LSN is the end of the last WAL record that changed the page. It is zero
	// for pages that were never logged, and a small number on pages of unlogged
	// relations and of indexes while they are built.
	LSN pg.LSN
	// Checksum is meaningless where data checksums are off.
	Checksum uint16
	Flags    uint16
	// Lower and Upper are where free space begins and ends, Special is where the
	// access method's own data begins, in bytes from the page's beginning.
	Lower, Upper, Special uint16
	// PageSizeVersion is the block size plus the layout version.
	PageSizeVersion uint16
	PruneXID        pg.XID
}

// ParseHeader reads the header of a page. It checks the length and nothing else.
func ParseHeader(page []byte) (Header, error) {
	if len(page) < HeaderSize {
		return Header{}, fmt.Errorf("parse page header: %d bytes, want at least %d", len(page), HeaderSize)
	}
	le := binary.LittleEndian
	return Header{
		LSN:             pg.LSN(le.Uint32(page))<<32 | pg.LSN(le.Uint32(page[4:])),
		Checksum:        le.Uint16(page[8:]),
		Flags:           le.Uint16(page[10:]),
		Lower:           le.Uint16(page[12:]),
		Upper:           le.Uint16(page[14:]),
		Special:         le.Uint16(page[16:]),
		PageSizeVersion: le.Uint16(page[18:]),
		PruneXID:        pg.XID(le.Uint32(page[20:])),
	}, nil
}

// IsNew tells whether a page was added to its file and never filled: whether
// all of it is zero. The server's PageIsNew looks at pd_upper alone, but its
// PageIsVerified takes a page with nothing there and something elsewhere for
// damaged, and so does this.
func IsNew(page []byte) bool {
	for len(page) >= 8 {
		if binary.LittleEndian.Uint64(page) != 0 {
			return false
		}
		page = page[8:]
	}
	for _, b := range page {
		if b != 0 {
			return false
		}
	}
	return true
}

// Valid tells whether a page is blcksz bytes long and has a header that the
// server would accept (PageIsVerified), with the block size and layout version
// that PageInit writes. A new page has no header and is not valid in this sense.
func Valid(page []byte, blcksz uint32) bool {
	h, err := ParseHeader(page)
	if err != nil || uint64(len(page)) != uint64(blcksz) {
		return false
	}
	return h.Flags&^validFlags == 0 &&
		h.Lower >= HeaderSize &&
		h.Lower <= h.Upper &&
		h.Upper <= h.Special &&
		uint32(h.Special) <= blcksz &&
		h.Special%8 == 0 &&
		uint32(h.PageSizeVersion) == blcksz|layoutVersion
}

// HasDeadItems tells whether a page of an index has entries that are marked dead
// (LP_DEAD in storage/itemid.h), or may have: a page without a valid header that
// is not new counts too. Pages of tables, which have no special space, do not:
// there a record tells of such a mark. On index pages that hold something
// else where others hold line pointers the answer means nothing.
func HasDeadItems(page []byte, blcksz uint32) bool {
	if !Valid(page, blcksz) {
		return !IsNew(page)
	}
	h, err := ParseHeader(page)
	if err != nil || uint32(h.Special) == blcksz {
		return false
	}
	const lpDead = 3
	for at := HeaderSize; at+4 <= int(h.Lower); at += 4 {
		if binary.LittleEndian.Uint32(page[at:])>>15&3 == lpDead {
			return true
		}
	}
	return false
}
