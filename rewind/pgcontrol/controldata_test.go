package pgcontrol_test

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// testdata holds control files of PostgreSQL 15, each with what pg_controldata
// said of it (TZ=UTC, LC_ALL=C): a primary in production, shut down, a standby
// running and shut down, a promoted one, and one that pg_rewind has made. They
// were captured by testdata/capture.sh. For the other majors see capturedMajors.
//
//go:embed testdata
var testdata embed.FS

func captured() []string {
	return []string{"in_production", "shut_down", "in_archive_recovery", "shut_down_in_recovery", "promoted", "rewound"}
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseCaptured(t *testing.T) {
	for _, name := range captured() {
		t.Run(name, func(t *testing.T) {
			c, err := pgcontrol.Parse(readTestdata(t, name+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Major(); got != 15 {
				t.Errorf("Major() = %d", got)
			}
			compare(t, c, string(readTestdata(t, name+".txt")))
		})
	}
}

// What an installed server writes, with every setting changed that it writes.
func TestParseLive(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{WalSegSize: 1, Conf: map[string]string{
			"wal_level": "logical", "max_connections": "41", "max_worker_processes": "9", "max_wal_senders": "7",
			"max_prepared_transactions": "5", "max_locks_per_transaction": "77", "track_commit_timestamp": "on", "wal_log_hints": "on",
		}})
		n.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000)")
		n.Must(t).Stop(rewindtest.Fast)
		content, err := os.ReadFile(filepath.Join(n.Dir, "global", "pg_control"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgcontrol.Parse(content)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.Major(), pg.Major(install.Major); got != want {
			t.Errorf("Major() = %d, want %d", got, want)
		}
		if install.Has("pg_controldata") {
			compare(t, c, controldata(t, install, n.Dir))
		}
		compareWithServer(t, n)
	})
}

func controldata(t *testing.T, install rewindtest.Install, dir string) string {
	t.Helper()
	cmd := exec.Command(install.Path("pg_controldata"), "-D", dir)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("pg_controldata: %v\n%s", err, out)
	}
	return string(out)
}

// pg_controldata accepts what Encode made, and sees the change.
func TestEncodeLive(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		if !install.Has("pg_controldata") {
			t.Skipf("%s has no pg_controldata; TestServerReadsEncoded asks the server", install)
		}
		dir := filepath.Join(t.TempDir(), "data")
		out, err := exec.Command(install.Path("initdb"), "-D", dir, "-N", "-A", "trust", "-U", "postgres", "--no-locale").CombinedOutput()
		if err != nil {
			t.Fatalf("initdb: %v\n%s", err, out)
		}
		name := filepath.Join(dir, "global", "pg_control")
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgcontrol.Parse(content)
		if err != nil {
			t.Fatal(err)
		}
		c.State = pgcontrol.StateInArchiveRecovery
		c.Time = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
		c.MinRecoveryPoint, c.MinRecoveryPointTLI = 0x5_00ABCDE8, 7
		if err := os.WriteFile(name, c.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		text := controldata(t, install, dir)
		if strings.Contains(text, "WARNING") {
			t.Errorf("pg_controldata warns:\n%s", text)
		}
		compare(t, c, text)
	})
}

// compare holds every line that pg_controldata prints against c.
func compare(t *testing.T, c *pgcontrol.Control, text string) {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("pg_controldata prints %q", line)
		}
		got[key] = strings.TrimSpace(value)
	}
	if diff := cmp.Diff(got, describe(c)); diff != "" {
		t.Errorf("pg_controldata (-) and Control (+):\n%s", diff)
	}
}

// describe prints a Control in pg_controldata's words.
func describe(c *pgcontrol.Control) map[string]string {
	k := c.CheckPointCopy
	m := map[string]string{
		"pg_control version number":             fmt.Sprint(c.PGControlVersion),
		"Catalog version number":                fmt.Sprint(c.CatalogVersionNo),
		"Database system identifier":            c.SystemIdentifier.String(),
		"Database cluster state":                c.State.String(),
		"pg_control last modified":              c.Time.Format(time.ANSIC),
		"Latest checkpoint location":            c.CheckPoint.String(),
		"Latest checkpoint's REDO location":     k.Redo.String(),
		"Latest checkpoint's REDO WAL file":     pg.SegmentName(k.ThisTimeLineID, pg.SegmentOf(k.Redo, c.WALSegSize), c.WALSegSize),
		"Latest checkpoint's TimeLineID":        fmt.Sprint(k.ThisTimeLineID),
		"Latest checkpoint's PrevTimeLineID":    fmt.Sprint(k.PrevTimeLineID),
		"Latest checkpoint's full_page_writes":  onOff(k.FullPageWrites),
		"Latest checkpoint's NextXID":           fmt.Sprintf("%d:%d", k.NextXID>>32, k.NextXID.XID()),
		"Latest checkpoint's NextOID":           fmt.Sprint(k.NextOid),
		"Latest checkpoint's NextMultiXactId":   fmt.Sprint(k.NextMulti),
		"Latest checkpoint's NextMultiOffset":   fmt.Sprint(k.NextMultiOffset),
		"Latest checkpoint's oldestXID":         fmt.Sprint(k.OldestXID),
		"Latest checkpoint's oldestXID's DB":    fmt.Sprint(k.OldestXIDDB),
		"Latest checkpoint's oldestActiveXID":   fmt.Sprint(k.OldestActiveXID),
		"Latest checkpoint's oldestMultiXid":    fmt.Sprint(k.OldestMulti),
		"Latest checkpoint's oldestMulti's DB":  fmt.Sprint(k.OldestMultiDB),
		"Latest checkpoint's oldestCommitTsXid": fmt.Sprint(k.OldestCommitTsXID),
		"Latest checkpoint's newestCommitTsXid": fmt.Sprint(k.NewestCommitTsXID),
		"Time of latest checkpoint":             k.Time.Format(time.ANSIC),
		"Fake LSN counter for unlogged rels":    c.UnloggedLSN.String(),
		"Minimum recovery ending location":      c.MinRecoveryPoint.String(),
		"Min recovery ending loc's timeline":    fmt.Sprint(c.MinRecoveryPointTLI),
		"Backup start location":                 c.BackupStartPoint.String(),
		"Backup end location":                   c.BackupEndPoint.String(),
		"End-of-backup record required":         map[bool]string{true: "yes", false: "no"}[c.BackupEndRequired],
		"wal_level setting":                     c.WALLevel.String(),
		"wal_log_hints setting":                 onOff(c.WALLogHints),
		"max_connections setting":               fmt.Sprint(c.MaxConnections),
		"max_worker_processes setting":          fmt.Sprint(c.MaxWorkerProcesses),
		"max_wal_senders setting":               fmt.Sprint(c.MaxWALSenders),
		"max_prepared_xacts setting":            fmt.Sprint(c.MaxPreparedXacts),
		"max_locks_per_xact setting":            fmt.Sprint(c.MaxLocksPerXact),
		"track_commit_timestamp setting":        onOff(c.TrackCommitTimestamp),
		"Maximum data alignment":                fmt.Sprint(c.MaxAlign),
		"Database block size":                   fmt.Sprint(c.BlockSize),
		"Blocks per segment of large relation":  fmt.Sprint(c.RelSegSize),
		"WAL block size":                        fmt.Sprint(c.WALBlockSize),
		"Bytes per WAL segment":                 fmt.Sprint(c.WALSegSize),
		"Maximum length of identifiers":         fmt.Sprint(c.NameDataLen),
		"Maximum columns in an index":           fmt.Sprint(c.IndexMaxKeys),
		"Maximum size of a TOAST chunk":         fmt.Sprint(c.ToastMaxChunkSize),
		"Size of a large-object chunk":          fmt.Sprint(c.LOBlockSize),
		"Date/time type storage":                "64-bit integers", // constant since 10
		"Float8 argument passing":               map[bool]string{true: "by value", false: "by reference"}[c.Float8ByVal],
		"Data page checksum version":            fmt.Sprint(c.DataChecksumVersion),
		"Mock authentication nonce":             fmt.Sprintf("%x", c.MockAuthNonce),
	}
	if c.Major() >= 18 {
		m["Default char data signedness"] = map[bool]string{true: "signed", false: "unsigned"}[c.DefaultCharSignedness]
	}
	return m
}

func onOff(b bool) string { return map[bool]string{true: "on", false: "off"}[b] }
