package pgwal

import "encoding/binary"

// RowKind tells what a record does to the rows of a table.
type RowKind uint8

// Kinds of row changes.
const (
	RowNone RowKind = iota
	RowInsert
	RowUpdate
	RowDelete
	// RowTruncate: tables were emptied by TRUNCATE; written under wal_level =
	// logical only.
	RowTruncate
)

// Kinds of records of RmgrHeap and RmgrHeap2 (access/heapam_xlog.h). The
// highest bit says that the page is made anew.
const (
	heapOpMask        = 0x70
	opHeapInsert      = 0x00
	opHeapDelete      = 0x10
	opHeapUpdate      = 0x20
	opHeapTruncate    = 0x30
	opHeapHotUpdate   = 0x40
	opHeap2MultiplIns = 0x50
)

// RowChange counts the rows that the record inserts, updates or deletes in the
// heap of its first block reference; for RowTruncate, the tables. System
// catalogs and TOAST tables are heaps as well. The rows of transactions that
// were rolled back count too: the record cannot know. Locks, and statistics that
// VACUUM writes in place, are no changes of rows.
func (r *Record) RowChange() (kind RowKind, n int) {
	switch op := r.Info & heapOpMask; r.Rmgr {
	case RmgrHeap:
		return r.heapChange(op)
	case RmgrHeap2:
		// xl_heap_multi_insert: u8 flags, padding, u16 number of tuples
		if op == opHeap2MultiplIns && len(r.Main) >= 4 {
			return RowInsert, int(binary.LittleEndian.Uint16(r.Main[2:]))
		}
	}
	return RowNone, 0
}

func (r *Record) heapChange(op uint8) (RowKind, int) {
	switch op {
	case opHeapInsert:
		return RowInsert, 1
	case opHeapDelete:
		return RowDelete, 1
	case opHeapUpdate, opHeapHotUpdate:
		return RowUpdate, 1
	case opHeapTruncate:
		// xl_heap_truncate: u32 database, u32 number of relations
		if len(r.Main) >= 8 {
			return RowTruncate, int(binary.LittleEndian.Uint32(r.Main[4:]))
		}
	}
	return RowNone, 0
}
