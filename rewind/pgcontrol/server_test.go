package pgcontrol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var captureDir = flag.String("capture", "", "write the control files of TestParseLive and what the servers say of them to this `directory`, for testdata")

// compareWithServer starts the node and holds every field that PostgreSQL's
// functions show against the control file: pg_control_system(), _checkpoint(),
// _recovery() and _init(), which every installation has.
func compareWithServer(t *testing.T, n *rewindtest.Node) {
	t.Helper()
	n.Must(t).Start()
	n.Must(t).Checkpoint() // nothing writes the file for a while after it
	content := readControl(t, n)
	c, err := pgcontrol.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, function := range []string{"pg_control_system", "pg_control_checkpoint", "pg_control_recovery", "pg_control_init"} {
		for _, row := range n.Must(t).Query("SELECT e.key, e.value FROM " + function + "() f, json_each_text(row_to_json(f)) e") {
			got[row[0]] = row[1]
		}
	}
	if diff := cmp.Diff(got, shownBySQL(c)); diff != "" {
		t.Errorf("the server (-) and Control (+):\n%s", diff)
	}
	capture(t, n.Install.Major, content, got)
}

// capture keeps a control file with what the server says of it, if asked to.
func capture(t *testing.T, major int, content []byte, said map[string]string) {
	t.Helper()
	if *captureDir == "" {
		return
	}
	text, err := json.MarshalIndent(said, "", "\t")
	name := filepath.Join(*captureDir, fmt.Sprintf("pg%d", major))
	err = errors.Join(err, os.WriteFile(name+".bin", content, 0o644), os.WriteFile(name+".json", append(text, '\n'), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// capturedMajors are those of which testdata holds a control file, pg13.bin, and
// the server's own words on it, pg13.json, both made by TestParseLive -capture.
// Those of 15 are in captured().
func capturedMajors() []pg.Major { return []pg.Major{13, 14, 16, 17, 18} }

func TestParseCapturedMajors(t *testing.T) {
	for _, major := range capturedMajors() {
		name := fmt.Sprintf("pg%d", major)
		content := readTestdata(t, name+".bin")
		c, err := pgcontrol.Parse(content)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.Encode(), content) {
			t.Errorf("%s: Encode changes an unchanged file", name)
		}
		said := map[string]string{}
		if err := json.Unmarshal(readTestdata(t, name+".json"), &said); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(said, shownBySQL(c)); diff != "" || c.Major() != major {
			t.Errorf("%s, Major() = %d; the server (-) and Control (+):\n%s", name, c.Major(), diff)
		}
	}
}

func readControl(t *testing.T, n *rewindtest.Node) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.Dir, "global", "pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// shownBySQL prints a Control in the words of the server's functions.
func shownBySQL(c *pgcontrol.Control) map[string]string {
	k := c.CheckPointCopy
	stamp := func(at time.Time) string { return at.Format("2006-01-02T15:04:05+00:00") }
	m := map[string]string{
		"pg_control_version":       fmt.Sprint(c.PGControlVersion),
		"catalog_version_no":       fmt.Sprint(c.CatalogVersionNo),
		"system_identifier":        c.SystemIdentifier.String(),
		"pg_control_last_modified": stamp(c.Time),

		"checkpoint_lsn":       c.CheckPoint.String(),
		"redo_lsn":             k.Redo.String(),
		"redo_wal_file":        pg.SegmentName(k.ThisTimeLineID, pg.SegmentOf(k.Redo, c.WALSegSize), c.WALSegSize),
		"timeline_id":          fmt.Sprint(k.ThisTimeLineID),
		"prev_timeline_id":     fmt.Sprint(k.PrevTimeLineID),
		"full_page_writes":     fmt.Sprint(k.FullPageWrites),
		"next_xid":             fmt.Sprintf("%d:%d", k.NextXID>>32, k.NextXID.XID()),
		"next_oid":             fmt.Sprint(k.NextOid),
		"next_multixact_id":    fmt.Sprint(k.NextMulti),
		"next_multi_offset":    fmt.Sprint(k.NextMultiOffset),
		"oldest_xid":           fmt.Sprint(k.OldestXID),
		"oldest_xid_dbid":      fmt.Sprint(k.OldestXIDDB),
		"oldest_active_xid":    fmt.Sprint(k.OldestActiveXID),
		"oldest_multi_xid":     fmt.Sprint(k.OldestMulti),
		"oldest_multi_dbid":    fmt.Sprint(k.OldestMultiDB),
		"oldest_commit_ts_xid": fmt.Sprint(k.OldestCommitTsXID),
		"newest_commit_ts_xid": fmt.Sprint(k.NewestCommitTsXID),
		"checkpoint_time":      stamp(k.Time),

		"min_recovery_end_lsn":          c.MinRecoveryPoint.String(),
		"min_recovery_end_timeline":     fmt.Sprint(c.MinRecoveryPointTLI),
		"backup_start_lsn":              c.BackupStartPoint.String(),
		"backup_end_lsn":                c.BackupEndPoint.String(),
		"end_of_backup_record_required": fmt.Sprint(c.BackupEndRequired),

		"max_data_alignment":         fmt.Sprint(c.MaxAlign),
		"database_block_size":        fmt.Sprint(c.BlockSize),
		"blocks_per_segment":         fmt.Sprint(c.RelSegSize),
		"wal_block_size":             fmt.Sprint(c.WALBlockSize),
		"bytes_per_wal_segment":      fmt.Sprint(c.WALSegSize),
		"max_identifier_length":      fmt.Sprint(c.NameDataLen),
		"max_index_columns":          fmt.Sprint(c.IndexMaxKeys),
		"max_toast_chunk_size":       fmt.Sprint(c.ToastMaxChunkSize),
		"large_object_chunk_size":    fmt.Sprint(c.LOBlockSize),
		"float8_pass_by_value":       fmt.Sprint(c.Float8ByVal),
		"data_page_checksum_version": fmt.Sprint(c.DataChecksumVersion),
	}
	if c.Major() >= 18 {
		m["default_char_signedness"] = fmt.Sprint(c.DefaultCharSignedness)
	}
	return m
}

// A server starts on what Encode made, and says in its log what it read there.
func TestServerReadsEncoded(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
		n.Must(t).Stop(rewindtest.Fast)
		c, err := pgcontrol.Parse(readControl(t, n))
		if err != nil {
			t.Fatal(err)
		}
		c.State, c.Time = pgcontrol.StateInProduction, time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
		if err := os.WriteFile(filepath.Join(n.Dir, "global", "pg_control"), c.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		n.Must(t).Start()
		if log := n.Log(40); !strings.Contains(log, "database system was interrupted; last known up at 2031-02-03 04:05:06 GMT") {
			t.Errorf("the server did not read the state and time that were written:\n%s", log)
		}
	})
}
