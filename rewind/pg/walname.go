package pg

import (
	"fmt"
	"strconv"
	"strings"
)

// SegmentNo numbers the segments of the WAL from its beginning: segment n holds
// the bytes from n times the segment size (XLogSegNo in access/xlogdefs.h).
type SegmentNo uint64

// The sizes, in bytes, that a WAL segment may have (WalSegMinSize and
// WalSegMaxSize in access/xlog_internal.h).
const (
	MinSegmentSize = 1 << 20
	MaxSegmentSize = 1 << 30
)

// ValidSegmentSize tells whether WAL segments may have this size in bytes: a
// power of two from 1 MiB to 1 GiB. The functions below that take a segment
// size and have no way to refuse want such a one.
func ValidSegmentSize(size uint32) bool {
	return size >= MinSegmentSize && size <= MaxSegmentSize && size&(size-1) == 0
}

// SegmentOf is the segment that holds the byte at lsn.
func SegmentOf(lsn LSN, segSize uint32) SegmentNo { return SegmentNo(lsn / LSN(segSize)) }

// Start is the position of the segment's first byte.
func (n SegmentNo) Start(segSize uint32) LSN { return LSN(n) * LSN(segSize) }

// SegmentName is the name of a segment's file in pg_wal (XLogFileName in
// access/xlog_internal.h).
func SegmentName(tli Timeline, no SegmentNo, segSize uint32) string {
	perID := SegmentNo(1<<32) / SegmentNo(segSize)
	return fmt.Sprintf("%08X%08X%08X", uint32(tli), uint32(no/perID), uint32(no%perID))
}

// ParseSegmentName reads the name of a segment file: exactly 24 digits as
// SegmentName prints them. The number of a segment depends on the segment size,
// and a name whose last part is too large for it is refused.
func ParseSegmentName(name string, segSize uint32) (Timeline, SegmentNo, bool) {
	words, ok := hexWords(name, 3)
	if !ok || !ValidSegmentSize(segSize) {
		return 0, 0, false
	}
	perID := uint32(uint64(1<<32) / uint64(segSize))
	if words[0] == 0 || words[2] >= perID {
		return 0, 0, false
	}
	return Timeline(words[0]), SegmentNo(words[1])*SegmentNo(perID) + SegmentNo(words[2]), true
}

// ParseHistoryFileName reads the name of a timeline history file.
func ParseHistoryFileName(name string) (Timeline, bool) {
	stem, ok := strings.CutSuffix(name, ".history")
	words, hex := hexWords(stem, 1)
	if !ok || !hex || words[0] == 0 {
		return 0, false
	}
	return Timeline(words[0]), true
}

// IsPartialName tells whether a name is that of a segment which was not filled
// when its timeline ended: 24 digits and ".partial".
func IsPartialName(name string) bool {
	stem, ok := strings.CutSuffix(name, ".partial")
	_, hex := hexWords(stem, 3)
	return ok && hex
}

// IsBackupHistoryName tells whether a name is that of a backup history file:
// a segment, the offset in it and ".backup".
func IsBackupHistoryName(name string) bool {
	stem, ok := strings.CutSuffix(name, ".backup")
	segment, offset, dot := strings.Cut(stem, ".")
	_, hex := hexWords(segment, 3)
	_, hexOffset := hexWords(offset, 1)
	return ok && dot && hex && hexOffset
}

// ParseSummaryName reads the name of a WAL summary in pg_wal/summaries (17 and
// later, backup/walsummary.c): it covers the timeline's WAL from start up to,
// not including, end.
func ParseSummaryName(name string) (tli Timeline, start, end LSN, ok bool) {
	stem, ok := strings.CutSuffix(name, ".summary")
	words, hex := hexWords(stem, 5)
	if !ok || !hex || words[0] == 0 {
		return 0, 0, 0, false
	}
	start = LSN(words[1])<<32 | LSN(words[2])
	end = LSN(words[3])<<32 | LSN(words[4])
	if start >= end {
		return 0, 0, 0, false
	}
	return Timeline(words[0]), start, end, true
}

// hexWords reads n numbers of eight upper-case hexadecimal digits each, with
// nothing between or behind them. Lower case is refused: PostgreSQL refuses it.
func hexWords(s string, n int) (words [5]uint32, ok bool) {
	if len(s) != 8*n || strings.Trim(s, "0123456789ABCDEF") != "" {
		return words, false
	}
	for i := range n {
		w, err := strconv.ParseUint(s[8*i:8*i+8], 16, 32)
		if err != nil {
			return words, false
		}
		words[i] = uint32(w)
	}
	return words, true
}
