package rewind

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSalvageNames: what a run that continues sets aside is the target's own only
// if the run before it has not brought it.
func TestSalvageNames(t *testing.T) {
	const size = 16 << 20
	first := &Plan{WALSegSize: size, WAL: WALPlan{
		SetAside: []string{"pg_wal/000000010000000000000003", "pg_wal/000000020000000000000003", "pg_wal/00000002.history", "pg_wal/archive_status/000000010000000000000003.ready"},
		Fetch:    []File{{Path: "pg_wal/000000020000000000000003"}, {Path: "pg_wal/00000002.history"}, {Path: "pg_wal/00000003.history"}},
	}}
	first.Fork.LSN, first.Fork.Timeline = 3*size+100, 1
	second := &Plan{WALSegSize: size, Fork: first.Fork, WAL: WALPlan{SetAside: []string{
		"pg_wal/000000020000000000000003", "pg_wal/00000002.history",
		"pg_wal/00000003.history",         // the first run brought it
		"pg_wal/000000020000000000000004", // and this as well, behind its plan
	}}}
	want := []string{"000000010000000000000003", "00000002.history", "000000020000000000000003"}
	if diff := cmp.Diff(want, salvageNames([]*Plan{first, second})); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
