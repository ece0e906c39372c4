package rewind

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// FuzzLostCounter counts whatever bytes the reader takes for records: sums
// agree, bounds hold, nothing panics. The seeds are WAL of all majors.
func FuzzLostCounter(f *testing.F) {
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		pages, err := os.ReadFile(fmt.Sprintf("pgwal/testdata/pg%d-pages.bin", major))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(pages, uint8(major-pg.OldestMajor), uint64(0))
		f.Add(pages, uint8(major-pg.OldestMajor), uint64(4000))
	}
	f.Fuzz(func(t *testing.T, b []byte, which uint8, fork uint64) {
		const size = 1 << 20
		major, no := pg.OldestMajor+pg.Major(which)%6, pg.SegmentNo(1)
		if len(b) >= 16 {
			no = max(no, pg.SegmentNo(binary.LittleEndian.Uint64(b[8:])/size)%(1<<40)) // the one that it says it is
		}
		r := pgwal.NewReader(pgwal.Options{
			SegmentSize: size, Major: major, History: pg.History{{Timeline: 1, End: pg.MaxLSN}}, Open: fuzzSegment{b},
		})
		if r.SeekSegment(context.Background(), no) != nil {
			return
		}
		l := newLostCounter(no.Start(size)+pg.LSN(fork%size), major)
		last := pg.LSN(0)
		for {
			rec, err := r.Next(context.Background())
			if err != nil {
				break
			}
			changed, _ := pgwal.FileChanges(rec)
			l.add(rec, changed)
			last = rec.End
		}
		got := l.result(last)
		if int64(len(got.Transactions))+got.MoreTransactions < got.Prepared || len(got.Relations) > MaxLostRelations || got.Bytes < 0 {
			t.Errorf("%d transactions, %d prepared, %d relations, %d bytes", len(got.Transactions), got.Prepared, len(got.Relations), got.Bytes)
		}
		if l.xacts.rows < 0 || l.xacts.read < 0 {
			t.Errorf("%d rows and %d changes are held", l.xacts.rows, l.xacts.read)
		}
	})
}

// fuzzSegment is a segment of any number; behind the bytes are zeros.
type fuzzSegment struct{ b []byte }

func (s fuzzSegment) OpenSegment(context.Context, pg.Timeline, pg.SegmentNo) (pgwal.Segment, error) {
	if len(s.b) == 0 {
		return nil, fs.ErrNotExist
	}
	return s, nil
}

func (s fuzzSegment) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s.b)) {
		copy(p, s.b[off:])
	}
	return len(p), nil
}

func (s fuzzSegment) Close() error { return nil }
