package pgwal

import "github.com/failback-hook/failback-hook/rewind/pg"

// opSequenceLog is XLOG_SEQ_LOG in commands/sequence.h.
const opSequenceLog = 0x00

// Sequence reads the new state of a sequence (xl_seq_rec in commands/sequence.h,
// 13 to 18): its value, up to 32 ahead of those that were given out. ok is false
// for all other records, and for one that is cut off.
func (r *Record) Sequence() (loc pg.RelFileLocator, last int64, ok bool) {
	if !r.is(RmgrSequence, opSequenceLog) {
		return loc, 0, false
	}
	c := cursor{b: r.Main}
	loc = c.locator()
	columns, ok := tupleColumns(c.b)
	if c.short || !ok {
		return loc, 0, false
	}
	c = cursor{b: columns}
	last = int64(c.u64())
	return loc, last, !c.short
}

// opRelMapUpdate is XLOG_RELMAP_UPDATE in utils/relmapper.h.
const opRelMapUpdate = 0x00

// RelMapUpdate tells of which database, zero for what all share, the record gives
// catalogs other files, as VACUUM FULL, CLUSTER and REINDEX of them do, and the
// making of a database (xl_relmap_update). ok is false for all other records, and
// for one that is cut off.
func (r *Record) RelMapUpdate() (db pg.Oid, ok bool) {
	if !r.is(RmgrRelMap, opRelMapUpdate) {
		return 0, false
	}
	c := cursor{b: r.Main}
	return c.oid(), !c.short
}

// opEndOfRecovery is XLOG_END_OF_RECOVERY in catalog/pg_control.h.
const opEndOfRecovery = 0x90

// EndsRecovery tells whether no transaction is in progress at the record but
// those that are prepared: the server was shut down, or comes up, after a crash
// or a promotion. Those that a crash ended have no other end in the WAL.
func (r *Record) EndsRecovery() bool {
	return r.is(RmgrXLOG, opCheckpointShutdown) || r.is(RmgrXLOG, opEndOfRecovery)
}
