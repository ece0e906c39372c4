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
	for last := pg.LSN(0); ; {
		rec, err := r.Next(ctx)
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
	return r.chunk[:0]
}

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
	if e != nil && (e.LSN == 0 || e.At < e.LSN || e.Kind == 0) {
		t.Fatalf("end without kind or place: %#v", e)
	}
}
