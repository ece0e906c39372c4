package pgwal_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// walDir opens segments in a directory.
type walDir struct {
	dir     string
	segSize uint32
}

func (d walDir) OpenSegment(_ context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	return os.Open(filepath.Join(d.dir, pg.SegmentName(tli, no, d.segSize)))
}

var firstTimeline = pg.History{{Timeline: 1, End: pg.MaxLSN}}

func newReader(install rewindtest.Install, dir string, segSize uint32, h pg.History) *pgwal.Reader {
	return pgwal.NewReader(pgwal.Options{
		SegmentSize: segSize,
		Major:       pg.Major(install.Major),
		History:     h,
		Open:        walDir{dir, segSize},
	})
}

// workload makes records of every resource manager that a server without
// logical replication writes, and of all that change files.
func workload(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	m := n.Must(t)
	m.Exec(
		`CREATE TABLE t (id int PRIMARY KEY, a int, txt text, p point, arr int[], r int4range)`,
		`CREATE INDEX t_hash ON t USING hash (a)`,
		`CREATE INDEX t_gin ON t USING gin (arr)`,
		`CREATE INDEX t_gist ON t USING gist (p)`,
		`CREATE INDEX t_spgist ON t USING spgist (p)`,
		`CREATE INDEX t_brin ON t USING brin (a) WITH (pages_per_range = 2)`,
		`CREATE SEQUENCE s`,
		`INSERT INTO t SELECT i, i % 97, repeat(md5(i::text), 1 + i % 40), point(i % 313, i % 271), ARRAY[i, i % 10], int4range(i, i + 5) FROM generate_series(1, 6000) i`,
		`CREATE TABLE copied AS SELECT * FROM t WHERE id <= 500`,
		`INSERT INTO copied SELECT * FROM t WHERE id > 5500`,
		`SELECT nextval('s') FROM generate_series(1, 100)`,
		`UPDATE t SET a = a + 1 WHERE id % 3 = 0`,
		`DELETE FROM t WHERE id % 7 = 0`,
		`CHECKPOINT`,
		`UPDATE t SET txt = 'after the checkpoint' WHERE id % 5 = 0`,
		`VACUUM t`,
		`VACUUM FREEZE copied`,
		`DELETE FROM copied WHERE id > 100`,
		`VACUUM copied`, // truncates the file
	)
	// Subtransactions, row locks by several transactions, aborts.
	m.Exec(`DO $$ BEGIN
		FOR i IN 1..70 LOOP
			BEGIN
				INSERT INTO t (id, a) VALUES (100000 + i, i);
				IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP; END $$`)
	m.Exec(`BEGIN`, `SAVEPOINT a`, `SELECT * FROM t WHERE id = 1 FOR KEY SHARE`, `SAVEPOINT b`, `UPDATE t SET a = 5 WHERE id = 1`, `COMMIT`)
	m.Exec(`BEGIN`, `CREATE TABLE aborted (x int PRIMARY KEY, y text)`, `INSERT INTO aborted VALUES (1, 'x')`, `ROLLBACK`)
	m.Exec(`CREATE TABLE gone (x int PRIMARY KEY, y text)`, `INSERT INTO gone SELECT i, i::text FROM generate_series(1, 500) i`,
		`BEGIN`, `TRUNCATE gone`, `INSERT INTO gone VALUES (1, 'x')`, `COMMIT`, `DROP TABLE gone`)
	// Two-phase commit, with subtransactions, dropped and created relations.
	m.Exec(`CREATE TABLE two (x int)`,
		`BEGIN`, `SAVEPOINT a`, `INSERT INTO two VALUES (1)`, `RELEASE a`, `INSERT INTO two VALUES (2)`, `DROP TABLE copied`, `PREPARE TRANSACTION 'to commit'`,
		`BEGIN`, `CREATE TABLE three (x int)`, `INSERT INTO two VALUES (3)`, `PREPARE TRANSACTION 'an odd, long: name; to abort'`,
		`CHECKPOINT`, `COMMIT PREPARED 'to commit'`, `ROLLBACK PREPARED 'an odd, long: name; to abort'`)
	if n.Install.Major >= 15 {
		m.Exec(`CREATE DATABASE d1 STRATEGY file_copy`, `CREATE DATABASE d2 STRATEGY wal_log`)
	} else {
		m.Exec(`CREATE DATABASE d1`, `CREATE DATABASE d2`)
	}
	// Large records over many pages, and over segments where they are small.
	m.Exec(`DROP DATABASE d1`, `SELECT pg_logical_emit_message(true, 'test', repeat('0123456789', 250000))`,
		`SELECT pg_logical_emit_message(false, 'test', repeat('x', 9000))`,
		`SELECT pg_create_restore_point('here')`, `SELECT pg_switch_wal()`, `SELECT txid_current()`, `CHECKPOINT`)
}

// readAll reads to the end of the log and calls fn for each record.
func readAll(t *testing.T, r *pgwal.Reader, fn func(*pgwal.Record)) *pgwal.EndError {
	t.Helper()
	for {
		rec, err := r.Next(context.Background())
		if err == nil {
			fn(rec)
			continue
		}
		var end *pgwal.EndError
		if !errors.As(err, &end) {
			t.Fatal(err)
		}
		return end
	}
}

func TestRecordsAgainstWaldump(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		for _, mb := range []int{1, 16} {
			n := rewindtest.NewPrimary(t, install, rewindtest.Options{
				Name: "p" + string(rune('a'+mb)), WalSegSize: mb,
				Conf: map[string]string{"wal_compression": onOff(mb == 1), "autovacuum": "off"},
			})
			workload(t, n)
			n.Must(t).Kill()
			capturePages(t, n)
			end, _ := compareWithDump(t, n, uint32(mb)<<20, firstTimeline)
			if end.Kind != pgwal.EndClean {
				t.Errorf("end of WAL: %v, want a clean one", end)
			}
		}
	})
}

// The server gives a record up whose continuation was lost, and says so in the
// record that takes its place.
func TestOverwrittenRecordOfServer(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		const segSize = 1 << 20
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{WalSegSize: 1, Conf: map[string]string{"autovacuum": "off"}})
		m := n.Must(t)
		m.Exec(`CREATE TABLE t (x int)`, `CHECKPOINT`, `SELECT pg_logical_emit_message(true, 'test', repeat('x', 1500000))`)
		begin := mustLSN(t, m.Value(`SELECT pg_current_wal_lsn()`)) - 1500000
		m.Kill()
		dir := filepath.Join(n.Dir, "pg_wal")
		lost := pg.SegmentOf(begin, segSize) + 1
		for _, name := range segments(t, dir) {
			if _, no, _ := pg.ParseSegmentName(name, segSize); no >= lost {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		r := newReader(install, dir, segSize, firstTimeline)
		if err := r.SeekSegment(context.Background(), lost-1); err != nil && !errors.Is(err, pgwal.ErrNoRecord) {
			t.Fatal(err)
		} else if err == nil {
			if end := readAll(t, r, func(*pgwal.Record) {}); end.Kind != pgwal.EndMissing {
				t.Errorf("end before the restart: %v, want a missing segment", end)
			}
		}
		m.Start()
		m.Exec(`INSERT INTO t VALUES (1)`)
		m.Stop(rewindtest.Fast)
		_, records := compareWithDump(t, n, segSize, firstTimeline)
		found := 0
		for _, rec := range records {
			if rec.Rmgr == pgwal.RmgrXLOG && rec.Op() == pgwal.OpOverwriteContRecord {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d overwritten records, the test needs one", found)
		}
	})
}

// Over a promotion the log goes on in the files of the new timeline; what the
// old one's files hold up to the switch is the same.
func TestTimelineSwitchOfServer(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		const segSize = 1 << 20
		p := rewindtest.NewPrimary(t, install, rewindtest.Options{WalSegSize: 1, Conf: map[string]string{"autovacuum": "off"}})
		p.Must(t).Exec(`CREATE TABLE t (x int)`)
		s := p.Standby(t, "s")
		p.Must(t).Exec(`INSERT INTO t SELECT generate_series(1, 3000)`)
		s.Must(t).WaitForCatchup(p)
		s.Must(t).Promote()
		s.Must(t).Exec(`INSERT INTO t SELECT generate_series(1, 20000)`, `CHECKPOINT`)
		s.Must(t).Stop(rewindtest.Fast)
		p.Must(t).Exec(`INSERT INTO t SELECT generate_series(1, 3000)`) // the branch that is given up
		p.Must(t).Stop(rewindtest.Fast)

		dir := filepath.Join(s.Dir, "pg_wal")
		content, err := os.ReadFile(filepath.Join(dir, "00000002.history"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := pg.ParseHistory(2, content)
		if err != nil {
			t.Fatal(err)
		}
		fork := h[0].End
		compareWithDump(t, s, segSize, h)

		start := pg.SegmentOf(fork, segSize)
		r := newReader(install, dir, segSize, h)
		if err := r.SeekSegment(context.Background(), start); err != nil {
			t.Fatal(err)
		}
		var common, all []string
		readAll(t, r, func(rec *pgwal.Record) {
			if want := h.At(rec.LSN); rec.Timeline != want {
				t.Errorf("record at %s is on timeline %d, want %d", rec.LSN, rec.Timeline, want)
			}
			all = append(all, describe(rec))
			if rec.LSN < fork {
				common = append(common, describe(rec))
			}
		})
		if len(common) == 0 || len(all) == len(common) {
			t.Fatalf("%d of %d records before the fork: the test needs both", len(common), len(all))
		}

		// The old primary has no file of timeline 2: its own serves up to the fork.
		r = newReader(install, filepath.Join(p.Dir, "pg_wal"), segSize, h)
		if err := r.SeekSegment(context.Background(), start); err != nil {
			t.Fatal(err)
		}
		i := 0
		end := readAll(t, r, func(rec *pgwal.Record) {
			if i < len(common) && describe(rec) != common[i] {
				t.Errorf("record %d is %s, want %s", i, describe(rec), common[i])
			}
			i++
		})
		if i != len(common) || end.Kind != pgwal.EndMissing || end.LSN != fork {
			t.Errorf("%d records up to %v, want %d up to a missing segment at %s", i, end, len(common), fork)
		}
	})
}

// From every segment on, the reader finds the first record that begins in it.
func TestSeekSegmentOfServer(t *testing.T) {
	install := rewindtest.Newest(t)
	const segSize = 1 << 20
	n := rewindtest.NewPrimary(t, install, rewindtest.Options{WalSegSize: 1, Conf: map[string]string{"autovacuum": "off"}})
	n.Must(t).Exec(`CREATE TABLE t (x text)`,
		`SELECT pg_logical_emit_message(true, 'test', repeat('x', 3500000))`,
		`INSERT INTO t SELECT repeat('y', 500) FROM generate_series(1, 4000)`,
		`SELECT pg_logical_emit_message(true, 'test', repeat('x', 300000)) FROM generate_series(1, 20)`)
	n.Must(t).Stop(rewindtest.Immediate)
	dir := filepath.Join(n.Dir, "pg_wal")
	firstOf := map[pg.SegmentNo]pg.LSN{}
	r := newReader(install, dir, segSize, firstTimeline)
	_, no, _ := pg.ParseSegmentName(segments(t, dir)[0], segSize)
	if err := r.SeekSegment(context.Background(), no); err != nil {
		t.Fatal(err)
	}
	end := readAll(t, r, func(rec *pgwal.Record) {
		if s := pg.SegmentOf(rec.LSN, segSize); firstOf[s] == 0 {
			firstOf[s] = rec.LSN
		}
	})
	none := 0
	for ; no < pg.SegmentOf(end.LSN, segSize); no++ {
		err := r.SeekSegment(context.Background(), no)
		want, ok := firstOf[no]
		if !ok {
			none++
			if !errors.Is(err, pgwal.ErrNoRecord) {
				t.Errorf("segment %d lies within a record: %v", no, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Next(context.Background())
		if err != nil || rec.LSN != want {
			t.Errorf("segment %d begins with %v (%v), want %s", no, rec, err, want)
		}
	}
	if none == 0 {
		t.Error("no segment within one record: the test needs one")
	}
	if !r.Written(t.Context(), no) || r.Written(t.Context(), no+1000) {
		t.Error("Written: wrong about the last segment, or one that does not exist")
	}
}

func TestShortSegmentIsNoEndOfWAL(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "000000010000000000000001"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	r := pgwal.NewReader(pgwal.Options{SegmentSize: 1 << 20, Major: 15, History: firstTimeline, Open: walDir{dir, 1 << 20}})
	err := r.SeekSegment(context.Background(), 1)
	var end *pgwal.EndError
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &end) {
		t.Errorf("got %v, want an unexpected EOF", err)
	}
}
