package rewind_test

import (
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestPreparedOverSwitch: the first leader prepares a transaction, is stopped,
// and hands over to a second. A server that replays this reads the transaction
// again at the shutdown checkpoint, from the segment that bears the first leader's
// timeline: that of the second alone is not enough.
func TestPreparedOverSwitch(t *testing.T) {
	t.Parallel()
	old := newPrimary(t)
	old.Must(t).Exec("CREATE TABLE t AS SELECT generate_series(1, 1000) i", "CHECKPOINT")
	leader, second := old.Standby(t, "leader"), old.Standby(t, "second")
	for _, n := range []*rewindtest.Node{leader, second} {
		n.Must(t).WaitForCatchup(old)
	}
	second.Must(t).Stop(rewindtest.Fast)
	leader.Must(t).Promote()
	second.Must(t).Follow(leader)
	second.Must(t).Start()
	old.Must(t).Exec("INSERT INTO t SELECT generate_series(1, 100)")
	old.Must(t).Kill()
	leader.Must(t).Exec("CHECKPOINT", "SELECT pg_switch_wal()", // both records in one segment
		"BEGIN; INSERT INTO t SELECT generate_series(1, 10); PREPARE TRANSACTION 'p'")
	second.Must(t).WaitForCatchup(leader)
	leader.Must(t).Stop(rewindtest.Fast) // the standby gets the shutdown checkpoint
	second.Must(t).Promote()
	bringBack(t, old, second)
	prove(t, old, second)
	second.Must(t).Exec("COMMIT PREPARED 'p'")
	old.Must(t).WaitForCatchup(second)
	rewindtest.CompareTables(t, second, old)
}
