package rewind_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestSourceUnderLoad: the leader writes all the time, to the disk as well since
// it has hardly any buffers: relations grow, are cut, dropped and made while they
// are fetched, and pages are read while they are written, without checksums that
// would tell. The node is looked at as soon as it can be.
func TestSourceUnderLoad(t *testing.T) {
	t.Parallel()
	opts := quietCluster()
	opts.NoChecksums = true
	opts.Conf["shared_buffers"] = "1MB"
	pair := rewindtest.Diverged(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 71, Rows: 2000, KillOld: true, CheckpointsAfterFork: 1, Cluster: opts})
	load := rewindtest.NewWorkload(72).Start(pair.New)
	if err := load.Await(5); err != nil {
		t.Fatal(err)
	}
	report := bringBack(t, pair.Old, pair.New)
	if report.Plan.Strategy != rewind.StrategyWAL || report.MinRecovery <= report.Plan.Source.EndOfWAL {
		t.Errorf("strategy %s, consistent at %s; the source was at %s before", report.Plan.Strategy, report.MinRecovery, report.Plan.Source.EndOfWAL)
	}
	pair.Old.Must(t).Start()
	rewindtest.AmCheck(t, pair.Old)
	if err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	pair.Old.Must(t).WaitForCatchup(pair.New)
	rewindtest.CompareTables(t, pair.New, pair.Old)
	rewindtest.AmCheck(t, pair.Old)
}
