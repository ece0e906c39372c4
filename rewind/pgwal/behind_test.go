package pgwal

import (
	"context"
	"slices"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// TestSeekBehind looks behind the ends of a log: one with nothing, with an older
// use of the segment, and with pages behind one that is blank or broken.
func TestSeekBehind(t *testing.T) {
	const page = DefaultPageSize
	older := func(b []byte) { // addresses of the segment's use before
		for at := 6 * page; at < len(b); at += page {
			b[at+10]--
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(b []byte)
		at    pg.LSN
		want  bool
	}{
		{"nothing behind", func([]byte) {}, testSegment + 10*page, false},
		{"a blank page", func(b []byte) { clear(b[5*page : 6*page]) }, testSegment + 5*page, true},
		{"a broken page", func(b []byte) { b[5*page+2] = 0xFF }, testSegment + 5*page, true},
		{"the first page is blank", func(b []byte) { clear(b[:page]) }, testSegment, true},
		{"an older use", older, testSegment + 5*page, false},
		{"a missing segment", func([]byte) {}, 9 * testSegment, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLog(15)
			l.fill(testSegment + 10*page)
			whole, _ := readRecords(l.options())
			c.spoil(l.b)
			r := NewReader(l.options())
			got, err := r.SeekBehind(context.Background(), c.at)
			if missing := c.at > 2*testSegment; got != c.want || (err != nil) != missing {
				t.Fatalf("got %t and %v, want %t", got, err, c.want)
			}
			if !got {
				return
			}
			rec, err := r.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(whole, func(s seen) bool { return s.lsn > c.at && s.lsn-c.at > page })
			for i > 0 && whole[i-1].lsn >= c.at&^(page-1)+page {
				i--
			}
			if rec.LSN != whole[i].lsn {
				t.Errorf("the first record behind it is at %s, want %s", rec.LSN, whole[i].lsn)
			}
		})
	}
}
