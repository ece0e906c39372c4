package pgwal

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

const (
	testSegment = 1 << 20
	testSystem  = pg.SystemID(7_000_000_000_000_000_001)
)

// testLog is WAL made by hand: for what a server cannot be brought to write, and
// for versions that are not installed. It begins with segment 1.
type testLog struct {
	major pg.Major
	tli   pg.Timeline
	prev  pg.LSN
	b     []byte
	// flags are added to the next page header.
	flags uint16
}

func newTestLog(major pg.Major) *testLog { return &testLog{major: major, tli: 1} }

func magicOf(major pg.Major) uint16 {
	for m := range 1 << 16 {
		if got, ok := MajorOfMagic(uint16(m)); ok && got == major {
			return uint16(m)
		}
	}
	return 0
}

// lsn is the position behind what was written.
func (l *testLog) lsn() pg.LSN { return testSegment + pg.LSN(len(l.b)) }

// header begins a page with the rest of a record.
func (l *testLog) header(rest int) {
	h := make([]byte, shortHeaderSize)
	flags := l.flags
	l.flags = 0
	if len(l.b)%testSegment == 0 {
		h = make([]byte, longHeaderSize)
		flags |= pageLongHeader
		binary.LittleEndian.PutUint64(h[24:], uint64(testSystem))
		binary.LittleEndian.PutUint32(h[32:], testSegment)
		binary.LittleEndian.PutUint32(h[36:], DefaultPageSize)
	}
	if rest > 0 {
		flags |= pageContRecord
	}
	binary.LittleEndian.PutUint16(h, magicOf(l.major))
	binary.LittleEndian.PutUint16(h[2:], flags)
	binary.LittleEndian.PutUint32(h[4:], uint32(l.tli))
	binary.LittleEndian.PutUint64(h[8:], uint64(l.lsn()))
	binary.LittleEndian.PutUint32(h[16:], uint32(rest))
	l.b = append(l.b, h...)
}

// put writes bytes that may go over pages.
func (l *testLog) put(b []byte) {
	for first := true; len(b) > 0; first = false {
		if len(l.b)%DefaultPageSize == 0 {
			rest := len(b)
			if first {
				rest = 0
			}
			l.header(rest)
		}
		n := min(len(b), DefaultPageSize-len(l.b)%DefaultPageSize)
		l.b, b = append(l.b, b[:n]...), b[n:]
	}
	for len(l.b)%8 != 0 {
		l.b = append(l.b, 0)
	}
}

// record writes one record and gives its position.
func (l *testLog) record(m Rmgr, info uint8, body []byte) pg.LSN {
	if len(l.b)%DefaultPageSize == 0 {
		l.header(0)
	}
	at := l.lsn()
	l.put(sealed(m, info, 700, l.prev, body))
	l.prev = at
	return at
}

// fill writes records until the log is at the position.
func (l *testLog) fill(to pg.LSN) {
	for l.lsn() < to {
		room := int(to - l.lsn())
		if len(l.b)%DefaultPageSize == 0 {
			room -= shortHeaderSize
		}
		size := 512
		if room <= 2*size { // the last one, or one of them
			size = room
		}
		l.record(RmgrGeneric, 0, mainData(make([]byte, max(size-recordHeaderSize-5, 0))))
	}
}

// sealed makes a record with a right checksum.
func sealed(m Rmgr, info uint8, xid pg.XID, prev pg.LSN, body []byte) []byte {
	b := make([]byte, recordHeaderSize, recordHeaderSize+len(body))
	binary.LittleEndian.PutUint32(b, uint32(recordHeaderSize+len(body)))
	binary.LittleEndian.PutUint32(b[4:], uint32(xid))
	binary.LittleEndian.PutUint64(b[8:], uint64(prev))
	b[16], b[17] = info, byte(m)
	b = append(b, body...)
	reseal(b)
	return b
}

func reseal(b []byte) {
	t := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[20:], crc32.Update(crc32.Checksum(b[recordHeaderSize:], t), t, b[:20]))
}

// mainData makes a body of main data alone.
func mainData(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	b := binary.LittleEndian.AppendUint32([]byte{idDataLong}, uint32(len(data)))
	return append(b, data...)
}

// le packs numbers in little-endian order, by their types.
func le(vs ...any) []byte {
	var b []byte
	for _, v := range vs {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			panic(err) // a mistake in a test
		}
	}
	return b
}

// memSegment is a segment in memory, with zeros behind what is there.
type memSegment []byte

func (s memSegment) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(s)) {
		n = copy(b, s[off:])
	}
	clear(b[n:])
	return len(b), nil
}

func (s memSegment) Close() error { return nil }

// OpenSegment serves the log as files of its timeline.
func (l *testLog) OpenSegment(_ context.Context, tli pg.Timeline, no pg.SegmentNo) (Segment, error) {
	if tli != l.tli || no == 0 || int(no-1)*testSegment >= len(l.b) {
		return nil, &fs.PathError{Op: "open", Path: pg.SegmentName(tli, no, testSegment), Err: fs.ErrNotExist}
	}
	b := l.b[int(no-1)*testSegment:]
	return memSegment(b[:min(len(b), testSegment)]), nil
}

func (l *testLog) options() Options {
	return Options{
		SegmentSize: testSegment, SystemID: testSystem, Major: l.major, Open: l,
		History: pg.History{{Timeline: l.tli, End: pg.MaxLSN}},
	}
}

// seen is what a test compares of a record.
type seen struct {
	lsn, end pg.LSN
	len      uint32
	rmgr     Rmgr
	info     uint8
	sum      uint32
}

// readRecords reads from segment 1 to the end.
func readRecords(o Options) ([]seen, error) { return readAgain(NewReader(o)) }

// readAgain is readRecords with a reader that may have been used before.
func readAgain(r *Reader) ([]seen, error) {
	defer func() { _ = r.Close() }()
	if err := r.SeekSegment(context.Background(), 1); err != nil {
		return nil, err
	}
	var out []seen
	for {
		rec, err := r.Next(context.Background())
		if err != nil {
			return out, err
		}
		out = append(out, seen{rec.LSN, rec.End, rec.TotalLen, rec.Rmgr, rec.Info, crc32.ChecksumIEEE(rec.Main)})
	}
}

// capturedRecords are records of every kind that a major wrote; see -capture.
func capturedRecords(t testing.TB, major pg.Major) [][]byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/pg%d-records.bin", major))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b)
		if uint64(n) > uint64(len(b)) {
			t.Fatalf("testdata: record of %d bytes, %d are left", n, len(b))
		}
		out, b = append(out, b[:n:n]), b[n:]
	}
	return out
}

// realistic is a log of about size bytes that repeats the captured records.
func realistic(t testing.TB, size int) *testLog {
	l := newTestLog(15)
	records := capturedRecords(t, 15)
	for i := 0; len(l.b) < size; i++ {
		rec := records[i%len(records)]
		if Rmgr(rec[17]) == RmgrXLOG && rec[16] == opSwitch {
			continue
		}
		l.record(Rmgr(rec[17]), rec[16], rec[recordHeaderSize:])
	}
	return l
}
