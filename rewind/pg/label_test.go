package pg_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// rewindLabel is what pg_rewind 15 wrote, baseLabel pg_basebackup 15, and
// incrementalLabel follows the format of 17; testdata has what that wrote.
const (
	rewindLabel = `START WAL LOCATION: 0/3035530 (file 000000010000000000000003)
CHECKPOINT LOCATION: 0/3035568
BACKUP METHOD: pg_rewind
BACKUP FROM: standby
START TIME: 2026-11-21 10:13:11 UTC
`
	baseLabel = `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 10:12:35 UTC
LABEL: pg_basebackup base backup
START TIMELINE: 1
`
	incrementalLabel = baseLabel + `INCREMENTAL FROM LSN: 0/1000028
INCREMENTAL FROM TLI: 1
`
)

func wantLabel() pg.BackupLabel {
	return pg.BackupLabel{
		StartLSN: 0x3035530, StartSegment: "000000010000000000000003", CheckpointLSN: 0x3035568,
		Method: "pg_rewind", From: "standby", StartTime: time.Date(2026, 11, 21, 10, 13, 11, 0, time.UTC),
	}
}

func TestBackupLabelBytes(t *testing.T) {
	if diff := cmp.Diff(rewindLabel, string(wantLabel().Bytes())); diff != "" {
		t.Error(diff)
	}
	l := wantLabel()
	l.Label = "one\nSTART TIMELINE: 9"
	if got := string(l.Bytes()); strings.Count(got, "\n") != 6 {
		t.Errorf("a line feed in the label adds lines:\n%s", got)
	}
}

func TestParseBackupLabel(t *testing.T) {
	base := wantLabel()
	base.StartLSN, base.StartSegment, base.CheckpointLSN = 0x2000028, "000000010000000000000002", 0x2000060
	base.Method, base.From, base.StartTime = "streamed", "primary", time.Date(2026, 11, 21, 10, 12, 35, 0, time.UTC)
	base.Label, base.StartTimeline = "pg_basebackup base backup", 1
	incremental := base
	incremental.IncrementalLSN, incremental.IncrementalTimeline = 0x1000028, 1
	for _, tt := range []struct {
		name, content string
		want          pg.BackupLabel
	}{
		{"pg_rewind", rewindLabel, wantLabel()},
		{"pg_basebackup", baseLabel, base},
		{"incremental", incrementalLabel, incremental},
		{"unknown line", baseLabel + "STOP TIME: now\nwhat\n", base},
		{"no last line feed", strings.TrimSuffix(baseLabel, "\n"), base},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pg.ParseBackupLabel([]byte(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if got.Timeline() != 1 {
				t.Errorf("Timeline() = %d", got.Timeline())
			}
		})
	}
	if l, err := pg.ParseBackupLabel([]byte(strings.Replace(rewindLabel, "2026-11-21 10:13:11 UTC", "yesterday", 1))); err != nil || !l.StartTime.IsZero() {
		t.Errorf("time that is not understood: %v, %v", l.StartTime, err)
	}
}

func TestParseBackupLabelRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"empty":              "",
		"no checkpoint":      "START WAL LOCATION: 0/3035530 (file 000000010000000000000003)\n",
		"no start":           "CHECKPOINT LOCATION: 0/3035568\n",
		"no file":            strings.Replace(rewindLabel, " (file 000000010000000000000003)", "", 1),
		"bad file":           strings.Replace(rewindLabel, "000000010000000000000003", "00000001000000000000000x", 1),
		"timeline 0":         strings.Replace(rewindLabel, "000000010000000000000003", "000000000000000000000003", 1),
		"parenthesis":        strings.Replace(rewindLabel, "3)", "3", 1),
		"bad position":       strings.Replace(rewindLabel, "0/3035568", "0-3035568", 1),
		"timelines disagree": strings.Replace(baseLabel, "START TIMELINE: 1", "START TIMELINE: 2", 1),
		"bad timeline":       strings.Replace(baseLabel, "START TIMELINE: 1", "START TIMELINE: one", 1),
		"too long":           rewindLabel + strings.Repeat("x", pg.MaxLabelSize),
	} {
		if l, err := pg.ParseBackupLabel([]byte(content)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, l)
		}
	}
}

func FuzzParseBackupLabel(f *testing.F) {
	for _, seed := range []string{rewindLabel, baseLabel, incrementalLabel} {
		f.Add([]byte(seed))
	}
	for _, name := range []string{"backup_label", "label_on_2", "incremental_label"} {
		for _, content := range capturedFiles(f, name) {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var l pg.BackupLabel
		var err error
		rewindtest.BoundedAllocation(t, len(content), func() { l, err = pg.ParseBackupLabel(content) })
		if err != nil {
			return
		}
		again, err := pg.ParseBackupLabel(l.Bytes())
		if err != nil {
			t.Fatalf("printed and read again: %v\n%s", err, l.Bytes())
		}
		// The zone's abbreviation is all that the format keeps of a zone.
		l.StartTime, again.StartTime = time.Time{}, time.Time{}
		if diff := cmp.Diff(l, again); diff != "" {
			t.Fatalf("printed and read again (-first +second):\n%s", diff)
		}
	})
}
