package pg_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

func TestSegmentName(t *testing.T) {
	tests := []struct {
		tli  pg.Timeline
		lsn  pg.LSN
		size uint32
		want string
	}{
		{1, 0x1000000, 16 * mib, "000000010000000000000001"},
		{1, 0xFFFFFFFF, 16 * mib, "0000000100000000000000FF"},
		{2, 0x16B374D848, 16 * mib, "0000000200000016000000B3"},
		{2, 0x16B374D848, 1 * mib, "000000020000001600000B37"},
		{2, 0x16B374D848, 1 * gib, "000000020000001600000002"},
		{0xAB, pg.MaxLSN, 64 * mib, "000000ABFFFFFFFF0000003F"},
	}
	for _, tt := range tests {
		no := pg.SegmentOf(tt.lsn, tt.size)
		if got := pg.SegmentName(tt.tli, no, tt.size); got != tt.want {
			t.Errorf("segment with %s, size %d: got %s, want %s", tt.lsn, tt.size, got, tt.want)
		}
		if start := no.Start(tt.size); start > tt.lsn || tt.lsn-start >= pg.LSN(tt.size) {
			t.Errorf("segment with %s, size %d, starts at %s", tt.lsn, tt.size, start)
		}
	}
}

func TestSegmentNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := uint32(1) << rapid.IntRange(20, 30).Draw(t, "size")
		tli := pg.Timeline(rapid.Uint32Min(1).Draw(t, "tli"))
		no := pg.SegmentOf(pg.LSN(rapid.Uint64().Draw(t, "lsn")), size)
		name := pg.SegmentName(tli, no, size)
		gotTLI, gotNo, ok := pg.ParseSegmentName(name, size)
		if !ok || gotTLI != tli || gotNo != no {
			t.Fatalf("ParseSegmentName(%s, %d) = %d, %d, %v; want %d, %d", name, size, gotTLI, gotNo, ok, tli, no)
		}
		if !pg.IsPartialName(name+".partial") || !pg.IsBackupHistoryName(name+".00000028.backup") {
			t.Fatalf("names made from %s are not recognised", name)
		}
	})
}

func TestParseSegmentNameRefuses(t *testing.T) {
	tests := []struct {
		name string
		size uint32
	}{
		{"", 16 * mib},
		{"00000001000000000000000", 16 * mib},
		{"0000000100000000000000010", 16 * mib},
		{"0000000100000000000000aa", 16 * mib}, // lower case
		{"00000001000000000000000G", 16 * mib},
		{"000000010000000000000100", 16 * mib}, // too large for the size
		{"000000010000000000000004", gib},
		{"000000000000000000000001", 16 * mib}, // timeline 0
		{"000000010000000000000001.partial", 16 * mib},
		{"+00000010000000000000001", 16 * mib},
		{"000000010000000000000001", 0},
		{"000000010000000000000001", 16*mib + 1},
		{"000000010000000000000001", 512 << 10},
	}
	for _, tt := range tests {
		if tli, no, ok := pg.ParseSegmentName(tt.name, tt.size); ok || tli != 0 || no != 0 {
			t.Errorf("ParseSegmentName(%q, %d) = %d, %d, %v; want a refusal", tt.name, tt.size, tli, no, ok)
		}
	}
}

func TestValidSegmentSize(t *testing.T) {
	for shift := range 32 {
		size := uint32(1) << shift
		if got, want := pg.ValidSegmentSize(size), shift >= 20 && shift <= 30; got != want {
			t.Errorf("ValidSegmentSize(%d) = %v", size, got)
		}
		if size > 2 && pg.ValidSegmentSize(size-1) {
			t.Errorf("ValidSegmentSize(%d) = true", size-1)
		}
	}
	if pg.ValidSegmentSize(0) {
		t.Error("ValidSegmentSize(0) = true")
	}
}

func TestOtherWALNames(t *testing.T) {
	if got := pg.HistoryFileName(0x1A); got != "0000001A.history" {
		t.Errorf("HistoryFileName(26) = %s", got)
	}
	if tli, ok := pg.ParseHistoryFileName("0000001A.history"); tli != 0x1A || !ok {
		t.Errorf("ParseHistoryFileName = %d, %v", tli, ok)
	}
	for _, bad := range []string{"", ".history", "1A.history", "0000001a.history", "0000001A.history.done", "00000000.history", "0000001A"} {
		if tli, ok := pg.ParseHistoryFileName(bad); ok || tli != 0 {
			t.Errorf("ParseHistoryFileName(%q) = %d, %v", bad, tli, ok)
		}
	}
	for _, bad := range []string{"", ".partial", "000000010000000000000001", "000000010000000000000001.partial.done", "x00000010000000000000001.partial"} {
		if pg.IsPartialName(bad) {
			t.Errorf("IsPartialName(%q)", bad)
		}
	}
	for _, bad := range []string{"", ".backup", "000000010000000000000001.backup", "000000010000000000000001.28.backup", "000000010000000000000001.00000028", "000000010000000000000001.00000028.backup.ready"} {
		if pg.IsBackupHistoryName(bad) {
			t.Errorf("IsBackupHistoryName(%q)", bad)
		}
	}
}

func TestParseSummaryName(t *testing.T) {
	const name = "0000000200000000010000D80000000102000060.summary"
	tli, start, end, ok := pg.ParseSummaryName(name)
	if tli != 2 || start != 0x10000D8 || end != 0x102000060 || !ok {
		t.Errorf("got %d, %s, %s, %v", tli, start, end, ok)
	}
	for _, bad := range []string{
		"", ".summary", name + ".tmp", name[1:], "temp.summary",
		"0000000200000000010000d80000000102000060.summary",
		"0000000200000001020000600000000102000060.summary", // empty
		"0000000000000000010000D80000000102000060.summary",
	} {
		if tli, start, end, ok := pg.ParseSummaryName(bad); ok || tli != 0 || start != 0 || end != 0 {
			t.Errorf("ParseSummaryName(%q) = %d, %s, %s, %v", bad, tli, start, end, ok)
		}
	}
}
