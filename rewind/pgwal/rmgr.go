package pgwal

import (
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Rmgr is the id of the resource manager that a record belongs to
// (access/rmgrlist.h; the built-in ones are the same from 13 to 18).
type Rmgr uint8

// The built-in resource managers.
const (
	RmgrXLOG Rmgr = iota
	RmgrTransaction
	RmgrStorage
	RmgrCLOG
	RmgrDatabase
	RmgrTablespace
	RmgrMultiXact
	RmgrRelMap
	RmgrStandby
	RmgrHeap2
	RmgrHeap
	RmgrBtree
	RmgrHash
	RmgrGin
	RmgrGist
	RmgrSequence
	RmgrSPGist
	RmgrBRIN
	RmgrCommitTs
	RmgrReplicationOrigin
	RmgrGeneric
	RmgrLogicalMessage

	rmgrBuiltin = iota
)

// firstCustomRmgr is RM_MIN_CUSTOM_ID: from here on extensions (15 and later).
const firstCustomRmgr Rmgr = 128

// String names the resource manager as pg_waldump does.
func (m Rmgr) String() string {
	names := [rmgrBuiltin]string{
		"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap",
		"Standby", "Heap2", "Heap", "Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN",
		"CommitTs", "ReplicationOrigin", "Generic", "LogicalMessage",
	}
	switch {
	case m < rmgrBuiltin:
		return names[m]
	case m >= firstCustomRmgr:
		return fmt.Sprintf("custom%03d", uint8(m))
	}
	return fmt.Sprintf("Rmgr(%d)", uint8(m))
}

// valid tells whether records of this resource manager exist in the version.
func (m Rmgr) valid(major pg.Major) bool {
	return m < rmgrBuiltin || m >= firstCustomRmgr && major >= 15
}

// Bits of Record.Info that mean the same for all resource managers
// (XLR_* in access/xlogrecord.h); the upper half is the resource manager's.
const (
	// infoSpecialRelUpdate: relation files change other than by block references.
	infoSpecialRelUpdate = 0x01

	infoOpMask = 0xF0
)

// Kinds of records of RmgrXLOG (catalog/pg_control.h).
const (
	opCheckpointShutdown  = 0x00
	opCheckpointOnline    = 0x10
	opSwitch              = 0x40
	opParameterChange     = 0x60
	opFPWChange           = 0x80
	opOverwriteContRecord = 0xD0
)

// Op is the kind of the record within its resource manager.
func (r *Record) Op() uint8 { return r.Info & infoOpMask }

func (r *Record) is(m Rmgr, op uint8) bool { return r.Rmgr == m && r.Op() == op }

// Checkpoint tells whether the record is a checkpoint, and if so whether it is
// one of a shutdown. Its body, Record.Main, is the checkPointCopy of the
// control file.
func (r *Record) Checkpoint() (shutdown, ok bool) {
	if r.Rmgr != RmgrXLOG {
		return false, false
	}
	switch r.Op() {
	case opCheckpointShutdown:
		return true, true
	case opCheckpointOnline:
		return false, true
	}
	return false, false
}

// IsSwitch tells whether the record ended its segment (pg_switch_wal, or
// archive_timeout): the next one begins in the next segment.
func (r *Record) IsSwitch() bool { return r.is(RmgrXLOG, opSwitch) }
