package pgwal_test

import (
	"bufio"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// Records of every kind that the workload of TestRecordsAgainstWaldump made on
// PostgreSQL 15, with the lines of pg_waldump: the comparison where no server is
// installed. Both files come from that test with -capture.
func TestCapturedRecords(t *testing.T) {
	lines, err := os.Open("testdata/pg15-records.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lines.Close() }()
	b, err := os.ReadFile("testdata/pg15-records.bin")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for s := bufio.NewScanner(lines); s.Scan(); n++ {
		d, ok := parseDump(t, s.Text())
		if !ok || len(b) < 24 {
			t.Fatalf("line %d: %q, %d bytes of records left", n+1, s.Text(), len(b))
		}
		size := binary.LittleEndian.Uint32(b)
		raw := b[:size]
		b = b[size:]
		if !pgwal.RecordSumOK(raw) {
			t.Errorf("checksum: %s", s.Text())
		}
		rec, err := pgwal.ParseRecord(raw, 15)
		if err != nil {
			t.Fatalf("%v: %s", err, s.Text())
		}
		rec.LSN = d.lsn // not in the record
		compareRecord(t, rec, d)
	}
	if n < 90 || len(b) != 0 {
		t.Errorf("%d records, %d bytes left", n, len(b))
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
