package pgwal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// rowData is a row as block data holds it: header, bitmap of a byte, columns.
func rowData(before []byte, columns string) []byte {
	return join(before, le(uint16(2), uint16(0), uint8(24)), []byte{0}, []byte(columns))
}

// heapRecord is a record with data for its first block; another block without.
func heapRecord(t *testing.T, info uint8, data []byte, other bool, main []byte) *Record {
	t.Helper()
	flags := uint8(0)
	if len(data) > 0 {
		flags = blockHasData
	}
	body := join(le(uint8(0), flags, uint16(len(data))), locator(rel), le(uint32(7)))
	if other {
		body = join(body, le(uint8(1), uint8(blockSameRel), uint16(0)), le(uint32(8)))
	}
	return parse(t, 15, RmgrHeap, info, join(body, le(uint8(idDataShort), uint8(len(main))), data, main))
}

func TestRowMove(t *testing.T) {
	update := func(flags uint8) []byte {
		return le(uint32(1), uint16(3), uint8(0), flags, uint32(0), uint16(4))
	}
	for name, tt := range map[string]struct {
		info  uint8
		data  []byte
		other bool
		main  []byte
		want  RowMove
		old   string
		row   string // empty for what the record does not have
	}{
		"insert": {opHeapInsert | 0x80, rowData(nil, "new"), false, le(uint16(9), uint8(0)),
			RowMove{Kind: RowInsert, New: RowPlace{7, 9}}, "", "new"},
		"insert with an image only": {opHeapInsert, nil, false, le(uint16(9), uint8(0)),
			RowMove{Kind: RowInsert, New: RowPlace{7, 9}}, "", ""},
		"delete": {opHeapDelete, nil, false, le(uint32(700), uint16(9), uint8(0), uint8(0)),
			RowMove{Kind: RowDelete, Old: RowPlace{7, 9}}, "", ""},
		"update": {opHeapHotUpdate, rowData(nil, "whole"), false, update(0),
			RowMove{Kind: RowUpdate, Old: RowPlace{7, 3}, New: RowPlace{7, 4}}, "old", "whole"},
		"update to another page": {opHeapUpdate, rowData(nil, "whole"), true, update(0),
			RowMove{Kind: RowUpdate, Old: RowPlace{8, 3}, New: RowPlace{7, 4}, OldBlock: 1}, "old", "whole"},
		"prefix": {opHeapHotUpdate, rowData(le(uint16(2)), "X"), false, update(updatePrefixFromOld),
			RowMove{Kind: RowUpdate, Old: RowPlace{7, 3}, New: RowPlace{7, 4}}, "abcd", "abX"},
		"suffix": {opHeapHotUpdate, rowData(le(uint16(2)), "X"), false, update(updateSuffixFromOld),
			RowMove{Kind: RowUpdate, Old: RowPlace{7, 3}, New: RowPlace{7, 4}}, "abcd", "Xcd"},
		"prefix and suffix": {opHeapHotUpdate, rowData(le(uint16(1), uint16(2)), "X"), false, update(updatePrefixFromOld | updateSuffixFromOld),
			RowMove{Kind: RowUpdate, Old: RowPlace{7, 3}, New: RowPlace{7, 4}}, "abcd", "aXcd"},
		"more than the old row has": {opHeapHotUpdate, rowData(le(uint16(3), uint16(2)), "X"), false, update(updatePrefixFromOld | updateSuffixFromOld),
			RowMove{Kind: RowUpdate, Old: RowPlace{7, 3}, New: RowPlace{7, 4}}, "abcd", ""},
	} {
		r := heapRecord(t, tt.info, tt.data, tt.other, tt.main)
		got, ok := r.RowMove()
		if d := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(RowMove{})); d != "" || !ok {
			t.Errorf("%s: %t\n%s", name, ok, d)
		}
		row, ok := got.Columns([]byte(tt.old))
		if string(row) != tt.row || ok != (tt.row != "") {
			t.Errorf("%s: row %q, %t; want %q", name, row, ok, tt.row)
		}
		if got, ok := heapRecord(t, tt.info, nil, tt.other, tt.main[:1]).RowMove(); ok {
			t.Errorf("%s, cut off: %+v", name, got)
		}
	}
	if got, ok := heapRecord(t, 0x60, nil, false, make([]byte, 20)).RowMove(); ok {
		t.Errorf("a lock: %+v", got)
	}
}

func TestPageRows(t *testing.T) {
	page := make([]byte, blockSize)
	copy(page[12:], le(uint16(24+4*4)))
	pointer := func(at, flags, size int) []byte { return le(uint32(at) | uint32(flags)<<15 | uint32(size)<<17) }
	copy(page[24:], join(pointer(8000, 1, 30), pointer(8100, 3, 0), pointer(8180, 1, 30), pointer(8100, 1, 28)))
	for _, at := range []int{8000, 8100} {
		page[at+22] = 24
		copy(page[at+24:], "abcdef")
	}
	var got []string
	PageRows(page, func(item uint16, columns []byte) { got = append(got, string(rune('0'+item))+string(columns)) })
	if d := cmp.Diff([]string{"1abcdef", "4abcd"}, got); d != "" {
		t.Error(d)
	}
	PageRows(page[:20], func(uint16, []byte) { t.Error("a row in 20 bytes") })
}

func TestClassRow(t *testing.T) {
	name := func(s string) []byte { return append([]byte(s), make([]byte, nameSize-len(s))...) }
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		columns := join(le(uint32(16400)), name("t"), le(uint32(2200)), make([]byte, 16), le(uint32(16401), uint32(1664)), make([]byte, 12))
		if major >= 18 {
			columns = append(columns, make([]byte, 4)...)
		}
		columns = join(columns, make([]byte, 6), []byte("pr"), le(uint16(3)))
		want := ClassRow{NamedRow: NamedRow{OID: 16400, Name: "t"}, Schema: 2200, FileNode: 16401, Tablespace: 1664, Persistence: 'p', Kind: 'r', Attributes: 3}
		if got, ok := ParseClassRow(columns, major); !ok || got != want {
			t.Errorf("%d: %+v, %t", major, got, ok)
		}
		for n := range columns {
			if got, ok := ParseClassRow(columns[:n], major); ok {
				t.Errorf("%d, %d bytes: %+v", major, n, got)
			}
		}
	}
	if got, ok := ParseNamedRow(make([]byte, 100)); ok {
		t.Errorf("without an oid: %+v", got)
	}
}

func TestSequence(t *testing.T) {
	tuple := join(make([]byte, 22), []byte{24}, []byte{0}, le(uint64(133), uint64(32), uint8(1)))
	loc, last, ok := parse(t, 15, RmgrSequence, 0, mainData(join(locator(rel), tuple))).Sequence()
	if loc != rel || last != 133 || !ok {
		t.Errorf("%v, %d, %t", loc, last, ok)
	}
	for _, cut := range [][]byte{nil, locator(rel), join(locator(rel), tuple[:30])} {
		if _, last, ok := parse(t, 15, RmgrSequence, 0, mainData(cut)).Sequence(); ok {
			t.Errorf("%d bytes: %d", len(cut), last)
		}
	}
}

func TestXactAssignment(t *testing.T) {
	body := le(uint32(700), uint32(2), uint32(701), uint32(702))
	top, subs, ok := parse(t, 15, RmgrTransaction, opXactAssignment, mainData(body)).XactAssignment()
	if d := cmp.Diff([]pg.XID{701, 702}, subs); top != 700 || !ok || d != "" {
		t.Errorf("%d %t\n%s", top, ok, d)
	}
	if _, subs, ok := parse(t, 15, RmgrTransaction, opXactAssignment, mainData(body[:12])).XactAssignment(); ok {
		t.Errorf("cut off: %v", subs)
	}
}
