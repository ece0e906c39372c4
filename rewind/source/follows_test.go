package source_test

import (
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// TestStandbyOnAnotherHistory: a standby that has WAL which the leader never had
// connects, is sent the end of what both have, and begins again. The leader shows
// it as streaming each time.
func TestStandbyOnAnotherHistory(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		pair := rewindtest.Diverged(t, install, rewindtest.Opts{Seed: 77, Rows: 200, KillOld: true})
		pair.Old.Must(t).Follow(pair.New)
		pair.Old.Must(t).Start()
		u, err := source.OpenUpstream(t.Context(), pair.New.Conninfo())
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		seen := map[string]int{}
		for begun := time.Now(); time.Since(begun) < 3*time.Second; {
			standbys, err := u.Standbys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range standbys {
				seen[s.State]++
				if s.Follows {
					t.Fatalf("%+v", s)
				}
			}
		}
		t.Logf("its states were seen so often: %v", seen)
		if len(seen) == 0 {
			t.Error("the standby never connected")
		}
	})
}
