package rewindtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
)

// Mask names what may differ between two pages that hold the same.
type Mask uint8

const (
	// MaskLSN leaves out pd_lsn.
	MaskLSN Mask = 1 << iota
	// MaskChecksum leaves out pd_checksum.
	MaskChecksum
	// MaskHints leaves out what PostgreSQL sets without WAL: hint bits of heap
	// tuples, dead line pointers of indexes, the hint flags and pd_prune_xid of
	// the header, btree's marks of garbage and vacuum cycles, and the free space
	// between pd_lower and pd_upper, which holds no data. As access/common/bufmask.c,
	// for heap and btree; other index kinds may show further differences.
	MaskHints

	// MaskAll is all of these.
	MaskAll = MaskLSN | MaskChecksum | MaskHints
)

const pageSize = 8192

// mainFork finds the segment files of main forks; [1] is the relation's first.
var mainFork = regexp.MustCompile(`^((?:base/\d+|global|pg_tblspc/\d+/PG_[^/]+/\d+)/\d+)(?:\.\d+)?$`)

func isMainFork(path string) bool { return mainFork.MatchString(path) }

// Offsets in the page header (storage/bufpage.h).
const (
	offChecksum = 8
	offFlags    = 10
	offLower    = 12
	offUpper    = 14
	offSpecial  = 16
	offPruneXID = 20
	headerSize  = 24
)

// diffPages says where two pages differ; "" when they do not.
func diffPages(a, b []byte, mask Mask) string {
	if bytes.Equal(a, b) {
		return ""
	}
	a, b = masked(a, mask), masked(b, mask)
	var at []string
	for i := 0; i < len(a) && len(at) < 4; i++ {
		if a[i] != b[i] {
			start := i
			for i < len(a) && a[i] != b[i] {
				i++
			}
			at = append(at, fmt.Sprintf("bytes %d..%d: %x and %x", start, i-1, clip(a[start:i]), clip(b[start:i])))
		}
	}
	return strings.Join(at, ", ")
}

func clip(b []byte) []byte { return b[:min(len(b), 16)] }

func masked(page []byte, mask Mask) []byte {
	p := bytes.Clone(page)
	if mask&MaskLSN != 0 {
		clear(p[:8])
	}
	if mask&MaskChecksum != 0 {
		clear(p[offChecksum : offChecksum+2])
	}
	if mask&MaskHints != 0 {
		maskHints(p)
	}
	return p
}

func maskHints(p []byte) {
	le := binary.LittleEndian
	lower, upper, special := int(le.Uint16(p[offLower:])), int(le.Uint16(p[offUpper:])), int(le.Uint16(p[offSpecial:]))
	if lower < headerSize || upper < lower || special < upper || special > pageSize {
		return // new, or no page that we know: compared as it is
	}
	const hasFreeLines, pageFull = 0x0001, 0x0002
	le.PutUint16(p[offFlags:], le.Uint16(p[offFlags:])&^(hasFreeLines|pageFull))
	clear(p[offPruneXID : offPruneXID+4])
	heap := special == pageSize
	btree := pageSize-special == 16
	if heap || btree { // the metapages of other kinds keep data below pd_upper
		clear(p[lower:upper])
	}
	for off := headerSize; off+4 <= lower; off += 4 {
		const normal, dead = 1, 3
		item := le.Uint32(p[off:])
		start, flags, length := int(item&0x7fff), item>>15&3, int(item>>17)
		switch {
		case heap && flags == normal && length >= 23 && start >= upper && start+length <= pageSize:
			const hints = 0x0F00 // HEAP_XMIN_COMMITTED … HEAP_XMAX_INVALID
			infomask := p[start+20:]
			le.PutUint16(infomask, le.Uint16(infomask)&^hints)
		case !heap && flags == dead && length != 0: // killed, with its storage
			le.PutUint32(p[off:], item&^(3<<15)|normal<<15)
		}
	}
	if btree {
		const hasGarbage = 1 << 6 // btpo_flags, nbtree.h
		flags := p[special+12:]
		le.PutUint16(flags, le.Uint16(flags)&^hasGarbage)
		clear(p[special+14 : special+16]) // btpo_cycleid
	}
}
