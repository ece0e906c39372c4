package pgwal

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func endOf(t *testing.T, err error) *EndError {
	t.Helper()
	var e *EndError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an EndError", err)
	}
	return e
}

func TestReadsEveryMajor(t *testing.T) {
	for major := pg.Major(13); major <= 18; major++ {
		l := newTestLog(major)
		a := l.record(RmgrHeap, 0, mainData(le(uint16(1), uint16(2))))
		b := l.record(RmgrLogicalMessage, 0, mainData(make([]byte, 2*testSegment+100))) // three segments
		c := l.record(RmgrXLOG, opSwitch, nil)
		l.b = append(l.b, make([]byte, (4*testSegment-len(l.b))%testSegment)...)
		d := l.record(RmgrXLOG, opCheckpointOnline, mainData(make([]byte, 88)))
		got, err := readRecords(l.options())
		if e := endOf(t, err); e.Kind != EndClean || e.LSN != l.lsn() {
			t.Errorf("%d: end %v, want a clean one at %s", major, e, l.lsn())
		}
		var lsns, ends []pg.LSN
		for _, s := range got {
			lsns, ends = append(lsns, s.lsn), append(ends, s.end)
		}
		if want := []pg.LSN{a, b, c, d}; !slices.Equal(lsns, want) {
			t.Errorf("%d: records at %v, want %v", major, lsns, want)
		}
		// The end of a switch is the end of its segment, that of another record
		// the next one's start, here without a page header between.
		if want := []pg.LSN{b, c, 4 * testSegment, l.lsn()}; !slices.Equal(ends, want) {
			t.Errorf("%d: ends at %v, want %v", major, ends, want)
		}
	}
}

func TestCustomResourceManagersSince15(t *testing.T) {
	for _, tt := range []struct {
		major pg.Major
		want  error
	}{{14, ErrDamaged}, {15, ErrEndOfWAL}} {
		l := newTestLog(tt.major)
		l.record(200, 0, nil)
		if _, err := readRecords(l.options()); !errors.Is(err, tt.want) {
			t.Errorf("%d: %v, want %v", tt.major, err, tt.want)
		}
	}
}

// Whatever single byte is wrong, what is read is a beginning of what was
// written: no record is invented, changed or left out.
func TestWrongByteNeverChangesARecord(t *testing.T) {
	l := realistic(t, 17<<10)
	r := NewReader(l.options())
	want, err := readAgain(r)
	if e := endOf(t, err); e.Kind != EndClean || len(want) < 40 {
		t.Fatalf("%d records up to %v", len(want), err)
	}
	intact := slices.Clone(l.b)
	for i := range l.b {
		for _, bits := range []byte{0x01, 0xFE} {
			l.b[i] ^= bits
			got, err := readAgain(r)
			e := endOf(t, err)
			if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
				t.Fatalf("byte %d xor %02X: the records differ", i, bits)
			}
			if len(got) < len(want) && e.Kind == EndMissing {
				t.Fatalf("byte %d xor %02X: %v", i, bits, e)
			}
			l.b[i] = intact[i]
		}
	}
}

// A log that was written up to any byte and no further ends at a record.
func TestTornTail(t *testing.T) {
	l := realistic(t, 17<<10)
	r := NewReader(l.options())
	want, _ := readAgain(r)
	ends := map[pg.LSN]bool{testSegment + longHeaderSize: true}
	for _, s := range want {
		ends[s.end] = true
	}
	all := l.b
	for n := longHeaderSize; n < len(all); n++ {
		l.b = all[:n]
		got, err := readAgain(r)
		e := endOf(t, err)
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("%d bytes: the records differ", n)
		}
		if e.Kind == EndMissing || !ends[e.LSN] && e.LSN != testSegment+longHeaderSize {
			t.Fatalf("%d bytes: %v", n, e)
		}
		if ends[testSegment+pg.LSN(n)] && e.Kind != EndClean {
			t.Errorf("%d bytes end with a record: %v", n, e)
		}
	}
}

func TestPagesThatDoNotBelong(t *testing.T) {
	tests := []struct {
		name   string
		page   int
		change func(page []byte)
		want   EndKind
	}{
		{"zeros", 1, func(p []byte) { clear(p) }, EndClean},
		{"zero header", 1, func(p []byte) { clear(p[:shortHeaderSize]) }, EndDamaged},
		{"older use of the segment", 1, func(p []byte) { binary.LittleEndian.PutUint64(p[8:], 0x2000) }, EndClean},
		{"older use, first page", 0, func(p []byte) { binary.LittleEndian.PutUint64(p[8:], 0) }, EndClean},
		{"address of another page", 1, func(p []byte) { p[8] ^= 8 }, EndDamaged},
		{"later address", 1, func(p []byte) { p[11] ^= 0x10 }, EndDamaged},
		{"newer timeline", 1, func(p []byte) { p[4] = 9 }, EndDamaged},
		{"timeline 0", 1, func(p []byte) { p[4] = 0 }, EndDamaged},
		{"magic of another version", 1, func(p []byte) { binary.LittleEndian.PutUint16(p, 0xD110) }, EndDamaged},
		{"unknown flag", 1, func(p []byte) { p[2] |= 0x10 }, EndDamaged},
		{"continues nothing", 1, func(p []byte) { p[2] |= pageContRecord; p[16] = 8 }, EndDamaged},
		{"short header on the first page", 0, func(p []byte) { p[2] &^= pageLongHeader }, EndDamaged},
		{"long header on another page", 1, func(p []byte) { p[2] |= pageLongHeader }, EndDamaged},
		{"another cluster", 0, func(p []byte) { p[24] ^= 1 }, EndDamaged},
		{"segment size", 0, func(p []byte) { p[34] ^= 0x30 }, EndDamaged},
		{"page size", 0, func(p []byte) { p[37] ^= 0x60 }, EndDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLog(18)
			l.fill(testSegment + DefaultPageSize)
			l.fill(testSegment + 2*DefaultPageSize)
			tt.change(l.b[tt.page*DefaultPageSize:][:DefaultPageSize])
			_, err := readRecords(l.options())
			e := endOf(t, err)
			if want := testSegment + pg.LSN(tt.page*DefaultPageSize); e.Kind != tt.want || e.LSN != want {
				t.Errorf("got %v, want kind %v at %s", e, tt.want, want)
			}
		})
	}
}

// A segment of a timeline that was given up may come back under the new one's
// name with the same number.
func TestOlderTimelineIsOlderUse(t *testing.T) {
	l := newTestLog(15)
	l.fill(testSegment + DefaultPageSize)
	l.fill(testSegment + 2*DefaultPageSize)
	o := l.options()
	o.History = pg.History{{Timeline: 1, End: testSegment + DefaultPageSize}, {Timeline: 2, Begin: testSegment + DefaultPageSize, End: pg.MaxLSN}}
	l.tli = 2
	_, err := readRecords(o)
	if e := endOf(t, err); e.Kind != EndClean || e.LSN != testSegment+DefaultPageSize {
		t.Errorf("got %v, want a clean end at the switch", e)
	}
}

// The first page says whose WAL a segment is, also when reading begins behind it.
func TestFirstPageCountsInTheMiddle(t *testing.T) {
	l := newTestLog(15)
	l.fill(testSegment + DefaultPageSize)
	at := l.record(RmgrGeneric, 0, nil)
	r := NewReader(l.options())
	for _, wrong := range []bool{false, true} {
		if wrong {
			l.b[24] ^= 1
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Seek(at); err != nil {
			t.Fatal(err)
		}
		_, err := r.Next(context.Background())
		if wrong && !errors.Is(err, ErrDamaged) || !wrong && err != nil {
			t.Errorf("another cluster's first page %v: %v", wrong, err)
		}
	}
}

func TestRecordThatDoesNotFollow(t *testing.T) {
	for _, tt := range []struct {
		name string
		prev func(last pg.LSN) pg.LSN
		want EndKind
	}{
		{"earlier", func(last pg.LSN) pg.LSN { return last - 8 }, EndClean},
		{"later", func(last pg.LSN) pg.LSN { return last + 1<<20 }, EndDamaged},
	} {
		l := newTestLog(15)
		l.record(RmgrGeneric, 0, nil)
		l.record(RmgrGeneric, 0, nil)
		l.prev = tt.prev(l.prev)
		at := l.record(RmgrGeneric, 0, nil)
		got, err := readRecords(l.options())
		if e := endOf(t, err); len(got) != 2 || e.Kind != tt.want || e.LSN != at {
			t.Errorf("%s: %d records, %v", tt.name, len(got), e)
		}
	}
}

// overwritten makes a log in which a record was given up at a page boundary.
func overwrittenLog(claim func(abandoned pg.LSN) []byte) (l *testLog, abandoned pg.LSN) {
	l = newTestLog(15)
	l.record(RmgrGeneric, 0, nil)
	prev := l.prev
	abandoned = l.record(RmgrLogicalMessage, 0, mainData(make([]byte, 20000)))
	l.b = l.b[:DefaultPageSize] // only its first page was written
	l.prev = prev
	l.flags = pageOverwriteContRecord
	l.record(RmgrXLOG, opOverwriteContRecord, mainData(claim(abandoned)))
	l.record(RmgrGeneric, 0, nil)
	return l, abandoned
}

func TestOverwrittenRecord(t *testing.T) {
	l, _ := overwrittenLog(func(at pg.LSN) []byte { return le(uint64(at), uint64(0)) })
	got, err := readRecords(l.options())
	if e := endOf(t, err); len(got) != 3 || e.Kind != EndClean {
		t.Errorf("%d records up to %v, want 3 up to a clean end", len(got), e)
	}
	for name, claim := range map[string]func(pg.LSN) []byte{
		"another record": func(at pg.LSN) []byte { return le(uint64(at+8), uint64(0)) },
		"too short":      func(pg.LSN) []byte { return le(uint32(0)) },
	} {
		l, _ := overwrittenLog(claim)
		got, err := readRecords(l.options())
		if e := endOf(t, err); len(got) != 1 || e.Kind != EndDamaged {
			t.Errorf("%s: %d records up to %v, want 1 up to damage", name, len(got), e)
		}
	}
}

// Memory follows the pages that are there, not the length that a header claims.
func TestClaimedLengthCostsNothing(t *testing.T) {
	l := newTestLog(15)
	l.record(RmgrGeneric, 0, nil)
	rec := sealed(RmgrGeneric, 0, 0, l.prev, nil)
	binary.LittleEndian.PutUint32(rec, maxRecordSize)
	l.put(rec)
	l.b = append(l.b, make([]byte, DefaultPageSize)...)
	r := NewReader(l.options())
	if err := r.SeekSegment(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	_, _ = r.Next(context.Background())
	if _, err := r.Next(context.Background()); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want damage", err)
	}
	if cap(r.whole) > 2*DefaultPageSize {
		t.Errorf("%d bytes allocated for a record of which one page is there", cap(r.whole))
	}
}

func TestMissingSegment(t *testing.T) {
	l := newTestLog(15)
	l.fill(2 * testSegment)
	_, err := readRecords(l.options())
	if e := endOf(t, err); e.Kind != EndMissing || e.LSN != 2*testSegment || !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, ErrMissing) {
		t.Errorf("at a segment's end: %v", err)
	}
	at := l.record(RmgrLogicalMessage, 0, mainData(make([]byte, 2*testSegment)))
	l.b = l.b[:2*testSegment]
	_, err = readRecords(l.options())
	if e := endOf(t, err); e.Kind != EndMissing || e.LSN > at || e.At != 3*testSegment {
		t.Errorf("within a record: %v, at %s", err, e.At)
	}
}

// The log may grow behind an end.
func TestNextAgain(t *testing.T) {
	l := newTestLog(15)
	l.record(RmgrGeneric, 0, nil)
	r := NewReader(l.options())
	if err := r.SeekSegment(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.Next(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(context.Background()); !errors.Is(err, ErrEndOfWAL) {
			t.Fatalf("got %v, want the end", err)
		}
		l.record(RmgrGeneric, 0, mainData(make([]byte, 5000)))
		if err := r.leave(); err != nil { // the segment in memory was replaced
			t.Fatal(err)
		}
	}
}

func TestSeek(t *testing.T) {
	l := newTestLog(15)
	first := l.record(RmgrGeneric, 0, nil)
	second := l.record(RmgrGeneric, 0, nil)
	r := NewReader(l.options())
	if _, err := r.Next(context.Background()); err == nil {
		t.Error("Next before Seek: no error")
	}
	for lsn, want := range map[pg.LSN]pg.LSN{testSegment: first, first: first, second: second} {
		if err := r.Seek(lsn); err != nil {
			t.Fatal(err)
		}
		if rec, err := r.Next(context.Background()); err != nil || rec.LSN != want {
			t.Errorf("seek to %s: %v, %v", lsn, rec, err)
		}
	}
	for _, lsn := range []pg.LSN{0, first + 4} {
		if err := r.Seek(lsn); err == nil {
			t.Errorf("seek to %s: no error", lsn)
		}
	}
	if err := r.Seek(testSegment + 8); err != nil {
		t.Fatal(err)
	}
	var e *EndError
	if _, err := r.Next(context.Background()); err == nil || errors.As(err, &e) {
		t.Errorf("within a page header: %v", err)
	}
	if err := r.SeekSegment(context.Background(), 1<<62); err == nil || errors.As(err, &e) {
		t.Errorf("segment that cannot be: %v", err)
	}
}

func TestCancelledContext(t *testing.T) {
	l := newTestLog(15)
	l.fill(2 * testSegment)
	ctx, cancel := context.WithCancelCause(context.Background())
	r := NewReader(l.options())
	if err := r.SeekSegment(ctx, 1); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	cancel(stop)
	for range 1 << 20 {
		if _, err := r.Next(ctx); err != nil {
			if !errors.Is(err, stop) {
				t.Errorf("got %v, want the cause", err)
			}
			return
		}
	}
	t.Error("no error")
}

func TestWrongOptions(t *testing.T) {
	good := newTestLog(15).options()
	for name, change := range map[string]func(*Options){
		"segment size": func(o *Options) { o.SegmentSize = 3 << 20 },
		"page size":    func(o *Options) { o.PageSize = 100 },
		"major":        func(o *Options) { o.Major = 12 },
		"history":      func(o *Options) { o.History = nil },
		"opener":       func(o *Options) { o.Open = nil },
	} {
		o := good
		change(&o)
		r := NewReader(o)
		_, err := r.Next(context.Background())
		if err == nil || r.Seek(8) == nil || r.SeekSegment(context.Background(), 1) == nil || !r.Written(context.Background(), 1) {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	l := realistic(t, 900<<10)
	r := NewReader(l.options())
	ctx := context.Background()
	if err := r.SeekSegment(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // until all buffers have their size
		if _, err := r.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func BenchmarkReadRecords(b *testing.B) {
	l := realistic(b, 16<<20)
	ctx := context.Background()
	b.SetBytes(int64(len(l.b)))
	b.ReportAllocs()
	records := 0
	for b.Loop() {
		r := NewReader(l.options())
		if err := r.SeekSegment(ctx, 1); err != nil {
			b.Fatal(err)
		}
		for {
			_, err := r.Next(ctx)
			if err != nil {
				if r.next != l.lsn() {
					b.Fatal(err)
				}
				break
			}
			records++
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
