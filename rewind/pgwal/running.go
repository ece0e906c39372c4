package pgwal

import "github.com/failback-hook/failback-hook/rewind/pg"

// opRunningXacts is XLOG_RUNNING_XACTS in storage/standbydefs.h.
const opRunningXacts = 0x10

// RunningXacts is the list of transactions in progress that a primary writes
// with each checkpoint and every 15 seconds (xl_running_xacts in
// storage/standbydefs.h, 13 to 18).
type RunningXacts struct {
	// NextXID is the first id that was not given out yet.
	NextXID pg.XID
	// OldestRunning is the oldest id in progress, NextXID if there is none.
	OldestRunning pg.XID
	// LatestCompleted is the newest id that has ended.
	LatestCompleted pg.XID
	// XIDs are the transactions in progress, then SubXIDs subtransactions of theirs.
	XIDs    []pg.XID
	SubXIDs []pg.XID
	// Overflowed: there are more subtransactions than are named.
	Overflowed bool
}

// RunningXacts reads a record of transactions in progress; ok is false for all
// other records. The error is ErrMalformed.
func (r *Record) RunningXacts() (x RunningXacts, ok bool, err error) {
	if !r.is(RmgrStandby, opRunningXacts) {
		return x, false, nil
	}
	c := cursor{b: r.Main}
	n, subs := uint64(c.u32()), uint64(c.u32())
	x.Overflowed = c.u32()&0xFF != 0
	x.NextXID = pg.XID(c.u32())
	x.OldestRunning = pg.XID(c.u32())
	x.LatestCompleted = pg.XID(c.u32())
	if c.short || (n+subs)*4 > uint64(c.left()) {
		return RunningXacts{}, true, r.malformed("running transactions")
	}
	x.XIDs, x.SubXIDs = c.xids(int(n)), c.xids(int(subs))
	return x, true, nil
}
