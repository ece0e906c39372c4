package rewindtest_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestClustersAreOthers: clusters that are made alike begin as copies of one, and
// are other clusters all the same.
func TestClustersAreOthers(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		for _, opts := range []rewindtest.Options{{}, {WalSegSize: 1, NoChecksums: true}} {
			a, b := rewindtest.NewPrimary(t, pg, opts), rewindtest.NewPrimary(t, pg, opts)
			const id = "SELECT system_identifier FROM pg_control_system()"
			if a, b := a.Must(t).Value(id), b.Must(t).Value(id); a == b {
				t.Errorf("both are cluster %s", a)
			}
			b.Must(t).Kill() // recovery reads the WAL of the copy
			b.Must(t).Start()
			b.Standby(t, "standby").Must(t).WaitForCatchup(b)
			rewindtest.CompareTables(t, a, b)
		}
	})
}
