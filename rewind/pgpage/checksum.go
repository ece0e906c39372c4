package pgpage

import (
	"encoding/binary"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

const (
	// lanes is how many sums run side by side (N_SUMS).
	lanes = 32
	// rowSize is how much of a page one step of all lanes takes.
	rowSize = 4 * lanes
	// prime is FNV_PRIME.
	prime = 16777619
	// group is how many lanes are computed in one pass over the page: as many
	// as stay in registers.
	group = 8
)

// offsets gives the values the lanes begin with (checksumBaseOffsets).
func offsets() [lanes]uint32 {
	return [lanes]uint32{
		0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
		0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
		0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
		0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
	}
}

// Verify tells whether a page carries the checksum it should have as block blkno
// of its fork. The block number counts over all segments. A new page carries
// none and does not verify; ask IsNew first.
func Verify(page []byte, blkno pg.BlockNo) bool {
	sum := Checksum(page, blkno)
	return sum != 0 && binary.LittleEndian.Uint16(page[8:]) == sum
}

// Checksum computes the checksum of a page as block blkno of its fork
// (pg_checksum_page). The checksum that the page carries does not count. The
// result is never zero, but for a slice that cannot be a page: one whose length
// is not a multiple of 128, or zero.
//
// The sum is FNV-1a with an additional shift, over 32 columns of four bytes. The
// columns do not depend on each other, which is meant for vector units; Go has
// none to offer, so some columns at a time are kept in registers instead, and
// the page, which stays in the nearest cache, is passed over four times.
func Checksum(page []byte, blkno pg.BlockNo) uint16 {
	if len(page) == 0 || len(page)%rowSize != 0 {
		return 0
	}
	start := offsets()
	sum := uint32(0)
	for lane := 0; lane < lanes; lane += group {
		sum ^= columns(page, lane, (*[group]uint32)(start[lane:]))
	}
	return uint16((sum^uint32(blkno))%65535 + 1)
}

// columns sums group columns from a lane on and folds the sums.
func columns(page []byte, lane int, start *[group]uint32) uint32 {
	s0, s1, s2, s3 := start[0], start[1], start[2], start[3]
	s4, s5, s6, s7 := start[4], start[5], start[6], start[7]
	for at := 4 * lane; at+4*group <= len(page); at += rowSize {
		row := (*[4 * group]byte)(page[at:])
		word := binary.LittleEndian.Uint32(row[8:])
		if at == 0 {
			word &^= 0xFFFF // pd_checksum
		}
		s0 = mix(s0, binary.LittleEndian.Uint32(row[0:]))
		s1 = mix(s1, binary.LittleEndian.Uint32(row[4:]))
		s2 = mix(s2, word)
		s3 = mix(s3, binary.LittleEndian.Uint32(row[12:]))
		s4 = mix(s4, binary.LittleEndian.Uint32(row[16:]))
		s5 = mix(s5, binary.LittleEndian.Uint32(row[20:]))
		s6 = mix(s6, binary.LittleEndian.Uint32(row[24:]))
		s7 = mix(s7, binary.LittleEndian.Uint32(row[28:]))
	}
	sum := uint32(0)
	for _, s := range [group]uint32{s0, s1, s2, s3, s4, s5, s6, s7} {
		sum ^= mix(mix(s, 0), 0) // two rounds of zeros, so that the last words mix too
	}
	return sum
}

// mix is CHECKSUM_COMP.
func mix(sum, value uint32) uint32 {
	t := sum ^ value
	return t*prime ^ t>>17
}
