package pg_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// history3 is what a server of version 15 wrote at its second promotion.
const history3 = "1\t0/3000148\tno recovery target specified\n\n2\t0/4000100\tno recovery target specified\n"

func TestParseHistory(t *testing.T) {
	tests := []struct {
		name    string
		tli     pg.Timeline
		content string
		want    pg.History
	}{
		{"first timeline", 1, "", pg.History{{1, 0, pg.MaxLSN}}},
		{"first timeline with a comment", 1, "# nothing\n\n", pg.History{{1, 0, pg.MaxLSN}}},
		{"two promotions", 3, history3, pg.History{{1, 0, 0x3000148}, {2, 0x3000148, 0x4000100}, {3, 0x4000100, pg.MaxLSN}}},
		{"a number that others used", 7, "2\tA/F8\tx\n", pg.History{{2, 0, 0xA000000F8}, {7, 0xA000000F8, pg.MaxLSN}}},
		{"comments, no reason, no last line feed", 2, "#c\n  # c\n 1 0/10", pg.History{{1, 0, 0x10}, {2, 0x10, pg.MaxLSN}}},
		{"two promotions at one place", 3, "1 0/10\n2 0/10\n", pg.History{{1, 0, 0x10}, {2, 0x10, 0x10}, {3, 0x10, pg.MaxLSN}}},
		{"CRLF", 2, "1\t0/10\tx\r\n", pg.History{{1, 0, 0x10}, {2, 0x10, pg.MaxLSN}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pg.ParseHistory(tt.tli, []byte(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseHistoryRefuses(t *testing.T) {
	tests := []struct {
		name    string
		tli     pg.Timeline
		content string
	}{
		{"timeline 0", 0, ""},
		{"a parent of timeline 1", 1, "1\t0/10\tx\n"},
		{"no parent", 2, ""},
		{"only comments", 2, "# 1 0/10\n"},
		{"itself as parent", 2, "2\t0/10\tx\n"},
		{"order", 5, "2\t0/10\tx\n1\t0/20\tx\n"},
		{"twice", 5, "1\t0/10\tx\n1\t0/20\tx\n"},
		{"switch points go back", 3, "1\t0/20\tx\n2\t0/10\tx\n"},
		{"no switch point", 2, "1\n"},
		{"switch point zero", 2, "1\t0/0\tx\n"},
		{"switch point at infinity", 2, "1\tFFFFFFFF/FFFFFFFF\tx\n"},
		{"no number", 2, "one\t0/10\n"},
		{"timeline zero as parent", 2, "0\t0/10\n"},
		{"negative", 2, "-1\t0/10\n"},
		{"too large", 2, "4294967297\t0/10\n"},
		{"bad switch point", 2, "1\t0-10\n"},
		{"zeros, as after a crash", 2, strings.Repeat("\x00", 41)},
		{"too long", 2, "1\t0/10\t" + strings.Repeat("x", pg.MaxHistorySize)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if h, err := pg.ParseHistory(tt.tli, []byte(tt.content)); err == nil {
				t.Errorf("got %v, want an error", h)
			}
		})
	}
}

func TestHistoryAt(t *testing.T) {
	h, err := pg.ParseHistory(3, []byte(history3))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		lsn  pg.LSN
		want pg.Timeline
	}{{0, 1}, {0x3000147, 1}, {0x3000148, 2}, {0x40000FF, 2}, {0x4000100, 3}, {pg.MaxLSN, 3}}
	for _, tt := range tests {
		if got := h.At(tt.lsn); got != tt.want {
			t.Errorf("At(%s) = %d, want %d", tt.lsn, got, tt.want)
		}
	}
	if got := h.Last(); got != 3 {
		t.Errorf("Last() = %d, want 3", got)
	}
	if none := (pg.History)(nil); none.At(5) != 0 || none.Last() != 0 || none.Contains(1, 0) {
		t.Error("an empty history contains something")
	}
}

func TestHistoryContains(t *testing.T) {
	h, err := pg.ParseHistory(4, []byte("1\t0/100\tx\n3\t0/200\tx\n"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		tli  pg.Timeline
		lsn  pg.LSN
		want bool
	}{
		{1, 0, true},
		{1, 0x100, true},  // stopped exactly at the switch point
		{1, 0x101, false}, // has one byte too many
		{2, 0x10, false},  // not in this history at all
		{3, 0x200, true},
		{3, 0x50, true}, // still on its way to timeline 3
		{3, 0x208, false},
		{4, 0x10000, true},
		{5, 0x10, false},
	}
	for _, tt := range tests {
		if got := h.Contains(tt.tli, tt.lsn); got != tt.want {
			t.Errorf("Contains(%d, %s) = %v, want %v", tt.tli, tt.lsn, got, tt.want)
		}
	}
}

func TestFindFork(t *testing.T) {
	const last = pg.MaxLSN
	tests := []struct {
		name string
		a, b pg.History
		want pg.Fork
	}{
		{"promoted once", pg.History{{1, 0, last}}, pg.History{{1, 0, 0x100}, {2, 0x100, last}}, pg.Fork{0x100, 1}},
		{"equal", pg.History{{1, 0, 0x100}, {2, 0x100, last}}, pg.History{{1, 0, 0x100}, {2, 0x100, last}}, pg.Fork{last, 2}},
		{"both promoted, at different places, to one number",
			pg.History{{1, 0, 0x100}, {2, 0x100, last}}, pg.History{{1, 0, 0x180}, {2, 0x180, last}}, pg.Fork{0x100, 1}},
		{"the target promoted twice after the fork",
			pg.History{{1, 0, 0x200}, {2, 0x200, 0x300}, {3, 0x300, last}}, pg.History{{1, 0, 0x100}, {4, 0x100, last}}, pg.Fork{0x100, 1}},
		{"a fork on a later timeline",
			pg.History{{1, 0, 0x100}, {2, 0x100, last}}, pg.History{{1, 0, 0x100}, {2, 0x100, 0x280}, {3, 0x280, last}}, pg.Fork{0x280, 2}},
		{"both promoted at one place to different numbers",
			pg.History{{1, 0, 0x100}, {2, 0x100, last}}, pg.History{{1, 0, 0x100}, {3, 0x100, last}}, pg.Fork{0x100, 1}},
		{"a number skipped", pg.History{{1, 0, 0x100}, {5, 0x100, last}}, pg.History{{1, 0, 0x100}, {5, 0x100, 0x101}, {6, 0x101, last}}, pg.Fork{0x101, 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range [][2]pg.History{{tt.a, tt.b}, {tt.b, tt.a}} {
				got, err := pg.FindFork(args[0], args[1])
				if err != nil || got != tt.want {
					t.Errorf("FindFork(%v, %v) = %v, %v; want %v", args[0], args[1], got, err, tt.want)
				}
			}
		})
	}
	for _, pair := range [][2]pg.History{
		{{{1, 0, last}}, {{2, 0, last}}},
		{nil, {{1, 0, last}}},
		{nil, nil},
	} {
		if _, err := pg.FindFork(pair[0], pair[1]); !errors.Is(err, pg.ErrNoAncestor) {
			t.Errorf("FindFork(%v, %v): %v, want ErrNoAncestor", pair[0], pair[1], err)
		}
	}
}

// genHistory draws a history that begins with some entries of a given one, so
// that pairs of histories really have something in common.
func genHistory(t *rapid.T, label string, trunk pg.History) pg.History {
	keep := rapid.IntRange(0, len(trunk)).Draw(t, label+" keeps")
	var text strings.Builder
	tli, lsn := pg.Timeline(0), pg.LSN(0)
	for i, e := range trunk[:keep] {
		if i == keep-1 || e.End == pg.MaxLSN {
			break // this one ends elsewhere
		}
		fmt.Fprintf(&text, "%d\t%s\tx\n", e.Timeline, e.End)
		tli, lsn = e.Timeline, e.End
	}
	for range rapid.IntRange(1, 4).Draw(t, label+" adds") {
		tli += pg.Timeline(rapid.IntRange(1, 2).Draw(t, "tli step"))
		lsn += pg.LSN(rapid.IntRange(1, 3).Draw(t, "lsn step"))
		fmt.Fprintf(&text, "%d\t%s\tx\n", tli, lsn)
	}
	h, err := pg.ParseHistory(tli+1, []byte(text.String()))
	if err != nil {
		t.Fatalf("%v in %q", err, text.String())
	}
	return h
}

func TestFindForkProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := genHistory(t, "a", nil)
		b := genHistory(t, "b", a)
		ab, err := pg.FindFork(a, b)
		ba, err2 := pg.FindFork(b, a)
		if ab != ba || (err == nil) != (err2 == nil) {
			t.Fatalf("not symmetric: %v, %v and %v, %v", ab, err, ba, err2)
		}
		if err != nil {
			if a[0].Timeline == b[0].Timeline {
				t.Fatalf("no fork in %v and %v", a, b)
			}
			return
		}
		if self, err := pg.FindFork(a, a); err != nil || self.LSN != pg.MaxLSN || self.Timeline != a.Last() {
			t.Fatalf("fork of %v with itself: %v, %v", a, self, err)
		}
		// Before the fork both are on the same timeline, from it on they are not.
		for lsn := pg.LSN(0); lsn < min(ab.LSN, 64); lsn++ {
			if a.At(lsn) != b.At(lsn) {
				t.Fatalf("fork %v, but timelines %d and %d at %s", ab, a.At(lsn), b.At(lsn), lsn)
			}
		}
		if ab.LSN != pg.MaxLSN && (!a.Contains(ab.Timeline, ab.LSN) || !b.Contains(ab.Timeline, ab.LSN)) {
			t.Fatalf("fork %v is not in both histories", ab)
		}
		if ab.LSN != pg.MaxLSN && a.Contains(ab.Timeline, ab.LSN+1) && b.Contains(ab.Timeline, ab.LSN+1) {
			t.Fatalf("both histories go on together behind the fork %v", ab)
		}
	})
}

func FuzzParseHistory(f *testing.F) {
	f.Add(uint32(3), []byte(history3))
	f.Add(uint32(1), []byte(nil))
	f.Add(uint32(2), []byte("1\t0/3000148\tbefore 2000-01-01 00:00:00+00\n# c\n\n"))
	for _, content := range capturedFiles(f, "history") {
		f.Add(uint32(3), content)
	}
	f.Fuzz(func(t *testing.T, tli uint32, content []byte) {
		var h pg.History
		var err error
		rewindtest.BoundedAllocation(t, len(content), func() { h, err = pg.ParseHistory(pg.Timeline(tli), content) })
		if err != nil {
			return
		}
		if h.Last() != pg.Timeline(tli) || h[0].Begin != 0 || h[len(h)-1].End != pg.MaxLSN {
			t.Fatalf("ends of %v", h)
		}
		var text strings.Builder
		for i, e := range h[:len(h)-1] {
			if h[i+1].Begin != e.End || h[i+1].Timeline <= e.Timeline || e.Begin > e.End {
				t.Fatalf("entry %d of %v", i, h)
			}
			fmt.Fprintf(&text, "%d\t%s\tx\n", e.Timeline, e.End)
		}
		again, err := pg.ParseHistory(pg.Timeline(tli), []byte(text.String()))
		if err != nil || !cmp.Equal(h, again) {
			t.Fatalf("printed and read again: %v, %v; want %v", again, err, h)
		}
	})
}
