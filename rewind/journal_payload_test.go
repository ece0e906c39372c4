package rewind_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// journalOf makes the file of a journal with a plan and one more record.
func journalOf(t *testing.T, plan string, last uint16) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := journal.Create(dir, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	const recordPlan = 1
	for _, r := range []struct {
		kind    uint16
		payload string
	}{{recordPlan, plan}, {last, "null"}} {
		if err := j.Append(r.kind, []byte(r.payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
