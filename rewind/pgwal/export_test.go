package pgwal

import (
	"hash/crc32"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// OpOverwriteContRecord is the kind of an RmgrXLOG record that stands in the place
// of one whose continuation was lost.
const OpOverwriteContRecord = opOverwriteContRecord

// ParseRecord takes a whole record apart, for tests outside of the package.
func ParseRecord(b []byte, major pg.Major) (*Record, error) {
	r := &Record{}
	return r, r.decode(b, major)
}

// RecordSumOK compares the checksum of a whole record.
func RecordSumOK(b []byte) bool {
	return len(b) >= recordHeaderSize && recordSumOK(b, crc32.MakeTable(crc32.Castagnoli))
}

// Raw gives the bytes of the record that Next returned last.
func (r *Reader) Raw() []byte {
	off := int(r.rec.LSN - r.page.addr)
	if r.rec.LSN >= r.page.addr && off+int(r.rec.TotalLen) <= len(r.page.bytes) {
		return r.page.bytes[off : off+int(r.rec.TotalLen)]
	}
	return r.whole
}
