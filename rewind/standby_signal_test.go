package rewind_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestSignalOnly: whoever starts the server has the settings; it must not be able
// to start as a primary before they are there.
func TestSignalOnly(t *testing.T) {
	pair := rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 411, Rows: 200, KillOld: true})
	auto := filepath.Join(pair.Old.Dir, "postgresql.auto.conf")
	before, err := os.ReadFile(auto)
	if err != nil {
		t.Fatal(err)
	}
	e := engineFor(t, pair.Old, pair.New)
	e.Options.Standby = &rewind.Standby{SignalOnly: true}
	p, err := e.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(auto)
	if err != nil || string(after) != string(before) {
		t.Errorf("postgresql.auto.conf became %q (%v), it was %q", after, err, before)
	}
	if _, err := os.Stat(filepath.Join(pair.Old.Dir, "standby.signal")); err != nil {
		t.Error(err)
	}
}
