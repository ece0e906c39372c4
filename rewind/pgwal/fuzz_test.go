package pgwal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// bodies are all that is read from the body of a record.
func bodies(r *Record) {
	_, _ = FileChanges(r)
	_, _, _ = r.XactEnd()
	_, _, _ = r.RunningXacts()
	_, _ = r.Parameters()
	_, _ = r.FullPageWrites()
	_, _ = r.RowChange()
	_, _ = r.Checkpoint()
	_, _, _ = r.XactAssignment()
	_, _ = r.RelMapUpdate()
	_ = r.EndsRecovery()
	_, _, _ = r.Sequence()
	if m, ok := r.RowMove(); ok {
		_, _ = m.Columns(nil)
		_, _ = m.Columns(r.Main)
	}
	for i := range r.Blocks {
		if page, ok := r.Blocks[i].Page(make([]byte, blockSize)); ok {
			PageRows(page, func(_ uint16, columns []byte) {
				_, _ = ParseClassRow(columns, r.Major)
				_, _ = ParseNamedRow(columns)
			})
		}
	}
}

// FuzzRecord decodes records whose checksum was not looked at.
func FuzzRecord(f *testing.F) {
	for written := pg.OldestMajor; written <= pg.NewestMajor; written++ {
		for _, rec := range capturedRecords(f, written) {
			f.Add(rec, uint8(written))
			f.Add(rec, uint8(13+(written-13+1)%6)) // taken for one of another version
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, major uint8) {
		r := &Record{}
		var err error
		rewindtest.BoundedAllocation(t, len(b), func() {
			if err = r.decode(b, pg.Major(major)); err == nil {
				bodies(r)
			}
		})
		if err != nil {
			return
		}
		data := len(r.Main)
		for _, blk := range r.Blocks {
			data += int(blk.ImageLen) + int(blk.DataLen)
		}
		if recordHeaderSize+data > len(b) {
			t.Errorf("%d bytes of data in a record of %d", data, len(b))
		}
	})
}

// FuzzReader reads arbitrary bytes as the log.
func FuzzReader(f *testing.F) {
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		pages, err := os.ReadFile(fmt.Sprintf("testdata/pg%d-pages.bin", major))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(pages, uint8(major-pg.OldestMajor))
	}
	f.Add(realistic(f, 17<<10).b, uint8(2))
	overwritten, _ := overwrittenLog(func(at pg.LSN) []byte { return le(uint64(at), uint64(0)) })
	f.Add(overwritten.b, uint8(2))
	f.Add(endless().b, uint8(2))
	var buffer []byte
	f.Fuzz(func(t *testing.T, b []byte, major uint8) {
		rewindtest.BoundedAllocation(t, len(b), func() { buffer = readLog(t, b, 13+pg.Major(major)%6, buffer) })
	})
}

// endless is a log with a record that claims to be 512 MB long, as do the pages
// that continue it, and of which a few pages are there.
func endless() *testLog {
	const more = 1 << 29
	l := newTestLog(15)
	at := int(l.record(RmgrGeneric, 0, mainData(make([]byte, 3*DefaultPageSize))) - testSegment)
	for _, length := range []int{at, DefaultPageSize + 16, 2*DefaultPageSize + 16, 3*DefaultPageSize + 16} {
		binary.LittleEndian.PutUint32(l.b[length:], binary.LittleEndian.Uint32(l.b[length:])+more)
	}
	return l
}

// readLog reads one segment from its beginning to wherever it ends. The buffer
// saves most of the time of a run.
func readLog(t *testing.T, b []byte, major pg.Major, buffer []byte) []byte {
	no := pg.SegmentNo(1)
	if len(b) >= shortHeaderSize { // the segment that it says it is
		no = max(no, pg.SegmentNo(binary.LittleEndian.Uint64(b[8:])/testSegment)%(1<<40))
	}
	r := NewReader(Options{
		SegmentSize: testSegment, Major: major, Open: oneSegment{no, b},
		History: pg.History{{Timeline: 1, End: pg.MaxLSN}},
	})
	r.chunk = buffer
	ctx := context.Background()
	if err := r.SeekSegment(ctx, no); err != nil {
		checkEnd(t, err)
		return r.chunk[:0]
	}
	drain(t, r)
	return r.chunk[:0]
}

// drain reads all records that are left; each lies behind the one before.
func drain(t *testing.T, r *Reader) (n int) {
	for last := pg.LSN(0); ; n++ {
		rec, err := r.Next(context.Background())
		if err != nil {
			checkEnd(t, err)
			break
		}
		if rec.LSN < last || rec.End <= rec.LSN {
			t.Fatalf("record from %s to %s after %s", rec.LSN, rec.End, last)
		}
		last = rec.End
		bodies(rec)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// lastPages is how much of a segment's end FuzzSegmentEnd makes up.
const lastPages = 2 * DefaultPageSize

// FuzzSegmentEnd reads arbitrary bytes as the last pages of one segment and the
// first ones of the next, with records that lie in both.
func FuzzSegmentEnd(f *testing.F) {
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		before, after, at := overSegmentEnd(f, major)
		f.Add(before, after, at, uint8(major-pg.OldestMajor))
		f.Add(before, after[:DefaultPageSize/2], at, uint8(major-pg.OldestMajor))
		f.Add(before, []byte{}, at, uint8(major-pg.OldestMajor))
	}
	var buffer []byte
	f.Fuzz(func(t *testing.T, before, after []byte, at uint16, major uint8) {
		rewindtest.BoundedAllocation(t, len(before)+len(after), func() {
			r := newReaderOver(before, after, at, 13+pg.Major(major)%6)
			r.chunk = buffer
			drain(t, r)
			buffer = r.chunk[:0]
		})
	})
}

// TestOverSegmentEnd: what the fuzzer begins with does reach the next segment.
func TestOverSegmentEnd(t *testing.T) {
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		before, after, at := overSegmentEnd(t, major)
		whole := drain(t, newReaderOver(before, after, at, major))
		cut := drain(t, newReaderOver(before, nil, at, major))
		if want := len(capturedRecords(t, major)) / 2; whole < want || cut == 0 || cut >= whole {
			t.Errorf("%d: %d records, %d of them in the first segment; want more than %d", major, whole, cut, want)
		}
	}
}

// overSegmentEnd gives a log of captured records around the end of its first
// segment, and where in before the first of them lies.
func overSegmentEnd(t testing.TB, major pg.Major) (before, after []byte, at uint16) {
	l := newTestLog(major)
	l.fill(2*testSegment - 1000)
	at = uint16(l.lsn() - (2*testSegment - lastPages))
	for _, rec := range capturedRecords(t, major) {
		if Rmgr(rec[17]) != RmgrXLOG || rec[16] != opSwitch {
			l.record(Rmgr(rec[17]), rec[16], rec[recordHeaderSize:])
		}
	}
	return l.b[testSegment-lastPages : testSegment], l.b[testSegment:], at
}

func newReaderOver(before, after []byte, at uint16, major pg.Major) *Reader {
	first := newTestLog(major)
	first.header(0)
	r := NewReader(Options{
		SegmentSize: testSegment, Major: major, Open: segmentEnd{first.b, before[:min(len(before), lastPages)], after},
		History: pg.History{{Timeline: 1, End: pg.MaxLSN}},
	})
	_ = r.Seek(2*testSegment - lastPages + pg.LSN(at&^7)%lastPages) // a place that can be one never fails
	return r
}

// segmentEnd is a log of two segments. Of the first there are the header that
// the reader looks at when it opens a file, and the last pages.
type segmentEnd struct{ header, before, after []byte }

func (s segmentEnd) OpenSegment(_ context.Context, _ pg.Timeline, no pg.SegmentNo) (Segment, error) {
	switch no {
	case 1:
		return s, nil
	case 2:
		return memSegment(s.after), nil
	}
	return nil, fs.ErrNotExist
}

// ReadAt reads the first segment, with zeros in its middle.
func (s segmentEnd) ReadAt(b []byte, off int64) (int, error) {
	const from = testSegment - lastPages
	if off >= from {
		return memSegment(s.before).ReadAt(b, off-from)
	}
	n := min(int64(len(b)), from-off)
	_, err := memSegment(s.header).ReadAt(b[:n], off)
	_, err2 := memSegment(s.before).ReadAt(b[n:], 0)
	return len(b), errors.Join(err, err2)
}

// Close does nothing.
func (s segmentEnd) Close() error { return nil }

// oneSegment is a log of one segment.
type oneSegment struct {
	no pg.SegmentNo
	b  []byte
}

func (s oneSegment) OpenSegment(_ context.Context, _ pg.Timeline, no pg.SegmentNo) (Segment, error) {
	if no != s.no {
		return nil, fs.ErrNotExist
	}
	return memSegment(s.b), nil
}

func checkEnd(t *testing.T, err error) {
	var e *EndError
	if !errors.As(err, &e) && !errors.Is(err, ErrNoRecord) {
		t.Fatalf("%v is no end of the log", err)
	}
	// The page that holds the place may be what is wrong.
	if e != nil && (e.LSN == 0 || e.At < e.LSN&^(DefaultPageSize-1) || e.Kind == 0) {
		t.Fatalf("end without kind or place: %#v", e)
	}
}
