package rewind_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestLostCompressed: names come from page images that are compressed as well,
// by what the server has; of zstd it is said how much was not read.
func TestLostCompressed(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		ways := []string{"on"} // pglz
		old := rewindtest.NewPrimary(t, install, quietCluster())
		if install.Major >= 15 {
			for _, way := range []string{"lz4", "zstd"} {
				if old.Exec("ALTER SYSTEM SET wal_compression = "+way) == nil {
					ways = append(ways, way)
				}
			}
		}
		o := old.Must(t)
		for _, way := range ways {
			o.Exec("CREATE TABLE emptied_" + way + " AS SELECT generate_series(1, 10) i")
		}
		leader := old.Standby(t, "leader")
		leader.Must(t).WaitForCatchup(old)
		leader.Must(t).Promote()
		leader.Must(t).Checkpoint()
		for _, way := range ways {
			o.Exec("ALTER SYSTEM SET wal_compression = "+way, "SELECT pg_reload_conf()")
			for o.Value("SHOW wal_compression") != shownCompression(way, install.Major) {
			}
			o.Checkpoint() // so that the next change of a page comes with an image
			o.Exec("TRUNCATE emptied_" + way)
		}
		b, err := engineFor(t, old, leader).Lost(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := words(b.Lost.Changes)
		for _, way := range ways {
			want := "emptied table public.emptied_" + way
			if way == "zstd" {
				if slices.Contains(got, want) || b.Lost.UnreadChanges == 0 {
					t.Errorf("zstd: %d changes not read, want some; %q", b.Lost.UnreadChanges, got)
				}
				continue
			}
			if !slices.Contains(got, want) {
				t.Errorf("%q is not among %q; %d changes were not read", want, got, b.Lost.UnreadChanges)
			}
		}
		t.Logf("ways: %q", ways)
	})
}

// TestLostOfStandby: a standby that streams while the primary writes has nothing
// of its own.
func TestLostOfStandby(t *testing.T) {
	t.Parallel()
	primary := rewindtest.NewPrimary(t, rewindtest.Newest(t), quietCluster())
	primary.Must(t).Exec("CREATE TABLE t(i int)")
	standby := primary.Standby(t, "standby")
	e := engineFor(t, standby, primary)
	grown := false
	e.Options.OnEvent = func(ev rewind.Event) {
		if p, ok := ev.(rewind.PhaseStarted); ok && p.Phase == rewind.PhaseScanWAL { // the source has told its end by then
			primary.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 1000)")
			standby.Must(t).WaitForCatchup(primary)
			grown = true
		}
	}
	b, err := e.Lost(t.Context())
	if err != nil || !grown {
		t.Fatal(err, grown)
	}
	if d := cmp.Diff(rewind.Lost{}, b.Lost); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// shownCompression is what SHOW makes of a value: "on" is pglz from 15 on.
func shownCompression(way string, major int) string {
	if way == "on" && major >= 15 {
		return "pglz"
	}
	return way
}
