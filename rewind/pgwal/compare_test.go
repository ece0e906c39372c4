package pgwal_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var captureDir = flag.String("capture", "", "write pages and records of the test server to this `directory`, for testdata")

// compareWithDump reads the WAL of a stopped node from its first segment on that
// is on the last timeline of h, record by record with pg_waldump, or with
// pg_walinspect where that is missing. Where both are (14 and older, without
// pg_waldump) it is only seen to be read to its end, bodies included.
func compareWithDump(t *testing.T, n *rewindtest.Node, segSize uint32, h pg.History) (end *pgwal.EndError, records []*pgwal.Record) {
	t.Helper()
	install, dir := n.Install, filepath.Join(n.Dir, "pg_wal")
	first := ""
	for _, name := range segments(t, dir) {
		if tli, _, ok := pg.ParseSegmentName(name, segSize); ok && tli == h.Last() {
			first = name
			break
		}
	}
	_, no, _ := pg.ParseSegmentName(first, segSize)
	r := newReader(install, dir, segSize, h)
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := r.SeekSegment(context.Background(), no); err != nil {
		t.Fatal(err)
	}
	var raws [][]byte
	last := pg.LSN(0)
	end = readAll(t, r, func(rec *pgwal.Record) {
		if last != 0 && rec.LSN < last {
			t.Errorf("record at %s lies before the end %s of the last one", rec.LSN, last)
		}
		last = rec.End
		raw := slices.Clone(r.Raw())
		own, err := pgwal.ParseRecord(raw, rec.Major) // rec is valid until the next one
		if err != nil {
			t.Fatal(err)
		}
		own.LSN, own.Timeline, own.End = rec.LSN, rec.Timeline, rec.End
		raws, records = append(raws, raw), append(records, own)
	})
	if end.LSN != last {
		t.Errorf("the end is at %s, the last record ends at %s", end.LSN, last)
	}
	t.Logf("%d records from %s to %v", len(records), first, end)
	want, compared := dump(t, n, first, segSize, records[0].LSN, last)
	if !compared {
		for i, rec := range records {
			decodeBody(t, rec)
			capture(t, rec, raws[i], dumped{})
		}
		return end, records
	}
	for i := range min(len(want), len(records)) {
		compareRecord(t, records[i], want[i])
		capture(t, records[i], raws[i], want[i])
		if t.Failed() {
			return end, records
		}
	}
	if len(records) != len(want) {
		t.Errorf("%d records, PostgreSQL has %d", len(records), len(want))
	}
	return end, records
}

// dump is what PostgreSQL says of the log; ok is false where there is nothing to ask.
func dump(t *testing.T, n *rewindtest.Node, first string, segSize uint32, from, to pg.LSN) (records []dumped, ok bool) {
	t.Helper()
	switch {
	case n.Install.Has("pg_waldump"):
		return waldump(t, n.Install, filepath.Join(n.Dir, "pg_wal"), first, segSize), true
	case n.Install.HasExtension("pg_walinspect"):
		return walinspect(t, n, from, to), true
	}
	t.Logf("read, but not compared: %s has neither pg_waldump nor pg_walinspect", n.Install)
	return nil, false
}

// decodeBody reads all that is read of a body.
func decodeBody(t *testing.T, rec *pgwal.Record) {
	t.Helper()
	x, _, err := rec.XactEnd()
	_, _, err2 := rec.RunningXacts()
	changes, err3 := pgwal.FileChanges(rec)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Errorf("%s: %v", describe(rec), err)
	}
	if rec.Rmgr == pgwal.RmgrTransaction {
		compareDropped(t, x, changes, dumped{text: describe(rec)})
	}
}

// captured are the kinds of records that were kept.
var captured = map[string]bool{}

// capture keeps the first record of each kind, if asked to, with its line.
func capture(t *testing.T, rec *pgwal.Record, raw []byte, d dumped) {
	if *captureDir == "" {
		return
	}
	key := fmt.Sprintf("pg%d %s %02X", rec.Major, rec.Rmgr, rec.Op())
	for _, c := range []string{"rels:", "subxacts:", "FPW", "xacts:"} {
		if strings.Contains(d.text, c) {
			key += " " + c
		}
	}
	if captured[key] || len(raw) > 1000 {
		return
	}
	captured[key] = true
	name := fmt.Sprintf("pg%d-records", rec.Major)
	appendFile(t, name+".bin", raw)
	if d.text != "" {
		appendFile(t, name+".txt", []byte(d.text+"\n"))
	}
}

// capturePages keeps the first pages of a segment, if asked to.
func capturePages(t *testing.T, n *rewindtest.Node) {
	pages := fmt.Sprintf("pg%d-pages.bin", n.Install.Major)
	if *captureDir == "" || captured[pages] {
		return
	}
	captured[pages] = true
	dir := filepath.Join(n.Dir, "pg_wal")
	b, err := os.ReadFile(filepath.Join(dir, segments(t, dir)[1]))
	if err != nil {
		t.Fatal(err)
	}
	appendFile(t, pages, b[:2*pgwal.DefaultPageSize])
}

func appendFile(t *testing.T, name string, b []byte) {
	f, err := os.OpenFile(filepath.Join(*captureDir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
