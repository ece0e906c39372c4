package pgwal

// Values of Parameters.WALLevel (WalLevel in access/xlog.h).
const (
	WALLevelMinimal = 0
	WALLevelReplica = 1
	WALLevelLogical = 2
)

// Parameters are the settings that a server notes in the WAL when it starts
// with changed ones (xl_parameter_change in access/xlog_internal.h, 13 to 18),
// as far as they decide what the WAL says.
type Parameters struct {
	WALLevel    int32
	WALLogHints bool
}

// Parameters reads a record of changed settings; ok is false for all other
// records. A body that is too short counts as the worst: minimal WAL without
// hints.
func (r *Record) Parameters() (p Parameters, ok bool) {
	if !r.is(RmgrXLOG, opParameterChange) {
		return p, false
	}
	c := cursor{b: r.Main}
	c.take(5 * 4) // max_connections and the like
	p.WALLevel = int32(c.u32())
	p.WALLogHints = c.u8() != 0
	if c.short {
		return Parameters{}, true
	}
	return p, true
}

// opImageForHint is XLOG_FPI_FOR_HINT in catalog/pg_control.h.
const opImageForHint = 0xA0

// ImageForHint tells whether the record is the image of a page in which a hint
// was set for the first time after a checkpoint. They are written under data
// checksums and under wal_log_hints, and at no other time.
func (r *Record) ImageForHint() bool { return r.is(RmgrXLOG, opImageForHint) }

// FullPageWrites reads a record of full_page_writes going on or off; ok is false
// for all other records. A body that is too short counts as off.
func (r *Record) FullPageWrites() (on, ok bool) {
	if !r.is(RmgrXLOG, opFPWChange) {
		return false, false
	}
	return len(r.Main) > 0 && r.Main[0] != 0, true
}
