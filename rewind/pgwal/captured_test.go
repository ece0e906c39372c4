package pgwal_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// Records of every kind that the workload of TestRecordsAgainstWaldump made, with
// the lines of pg_waldump or pg_walinspect: the comparison where no server is
// installed. The files come from that test with -capture. Of 14, for which there
// was neither, the records are only taken apart.
func TestCapturedRecords(t *testing.T) {
	for major := pg.OldestMajor; major <= pg.NewestMajor; major++ {
		t.Run(fmt.Sprint(major), func(t *testing.T) { testCaptured(t, major) })
	}
}

func testCaptured(t *testing.T, major pg.Major) {
	b, err := os.ReadFile(fmt.Sprintf("testdata/pg%d-records.bin", major))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	text, err := os.ReadFile(fmt.Sprintf("testdata/pg%d-records.txt", major))
	switch {
	case err == nil:
		lines = strings.Split(strings.TrimSpace(string(text)), "\n")
	case major != 14:
		t.Fatal(err)
	}
	n := 0
	for ; len(b) >= 24; n++ {
		size := min(int(binary.LittleEndian.Uint32(b)), len(b))
		raw := b[:size]
		b = b[size:]
		if !pgwal.RecordSumOK(raw) {
			t.Errorf("checksum of record %d", n)
		}
		rec, err := pgwal.ParseRecord(raw, major)
		if err != nil {
			t.Fatalf("record %d: %v", n, err)
		}
		if lines == nil {
			decodeBody(t, rec)
			continue
		}
		if n == len(lines) {
			t.Fatalf("%d lines, more records", n)
		}
		d, ok := parseDump(t, lines[n])
		if !ok {
			t.Fatalf("line %d: %q", n+1, lines[n])
		}
		rec.LSN = d.lsn // not in the record
		compareRecord(t, rec, d)
	}
	if n < 60 || len(b) != 0 || lines != nil && n != len(lines) {
		t.Errorf("%d records, %d lines, %d bytes left", n, len(lines), len(b))
	}
}

func TestRmgrNames(t *testing.T) {
	for m, want := range map[pgwal.Rmgr]string{pgwal.RmgrXLOG: "XLOG", pgwal.RmgrLogicalMessage: "LogicalMessage", 128: "custom128", 22: "Rmgr(22)"} {
		if got := m.String(); got != want {
			t.Errorf("%d is %q, want %q", uint8(m), got, want)
		}
	}
	if s := (&pgwal.EndError{LSN: 1 << 24, At: 1<<24 + 8192, Kind: pgwal.EndDamaged, Reason: "why", Err: os.ErrNotExist}).Error(); !strings.Contains(s, "damaged WAL at 0/1000000: why (at 0/1002000): file does not exist") {
		t.Error(s)
	}
}
