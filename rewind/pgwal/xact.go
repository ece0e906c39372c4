package pgwal

import (
	"bytes"
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// XactKind tells how a transaction came to its end, or was prepared for it.
type XactKind uint8

// Kinds of XactEnd.
const (
	XactCommit XactKind = iota + 1
	XactPrepare
	XactAbort
	XactCommitPrepared
	XactAbortPrepared
)

// String names the kind as pg_waldump does.
func (k XactKind) String() string {
	switch k {
	case XactCommit:
		return "COMMIT"
	case XactPrepare:
		return "PREPARE"
	case XactAbort:
		return "ABORT"
	case XactCommitPrepared:
		return "COMMIT_PREPARED"
	case XactAbortPrepared:
		return "ABORT_PREPARED"
	}
	return fmt.Sprintf("XactKind(%d)", uint8(k))
}

// XactEnd is what a commit, abort or prepare record says. Its slices are its own.
type XactEnd struct {
	Kind XactKind
	// XID is the transaction; for a prepared one the id it was prepared under.
	// Zero for a commit that had none (asynchronous notices).
	XID pg.XID
	// Time of the commit, abort or prepare by the server's clock, in UTC.
	Time time.Time
	// SubXIDs are the subtransactions that end with it.
	SubXIDs []pg.XID
	// DroppedRels are the relations whose files go at this end: those it dropped
	// for a commit, those it created for an abort. Empty for XactPrepare, which
	// leaves the files alone.
	DroppedRels []pg.RelFileLocator
	// GID is the name that a transaction was prepared under; XactPrepare only.
	GID string
}

// Kinds of transaction records (XLOG_XACT_* in access/xact.h).
const (
	xactOpMask        = 0x70
	opXactCommit      = 0x00
	opXactPrepare     = 0x10
	opXactAbort       = 0x20
	opXactCommitPrep  = 0x30
	opXactAbortPrep   = 0x40
	opXactAssignment  = 0x50
	xactHasInfo       = 0x80
	xinfoDBInfo       = 1 << 0
	xinfoSubXacts     = 1 << 1
	xinfoRelFiles     = 1 << 2
	xinfoInvals       = 1 << 3
	xinfoTwoPhase     = 1 << 4
	xinfoDroppedStats = 1 << 8 // 15 and later
	invalMessageSize  = 16
)

// XactEnd reads a commit, abort or prepare record (xl_xact_commit,
// xl_xact_abort and xl_xact_prepare in access/xact.h, 13 to 18); ok is false
// for all other records. The error is ErrMalformed.
func (r *Record) XactEnd() (x XactEnd, ok bool, err error) {
	if r.Rmgr != RmgrTransaction {
		return x, false, nil
	}
	switch r.Info & xactOpMask {
	case opXactCommit:
		x.Kind = XactCommit
	case opXactPrepare:
		x.Kind = XactPrepare
	case opXactAbort:
		x.Kind = XactAbort
	case opXactCommitPrep:
		x.Kind = XactCommitPrepared
	case opXactAbortPrep:
		x.Kind = XactAbortPrepared
	default:
		return x, false, nil
	}
	c := cursor{b: r.Main}
	if x.Kind == XactPrepare {
		x.decodePrepare(&c, r.Major)
	} else {
		x.XID = r.XID
		x.decodeEnd(&c, r.Major, r.Info&xactHasInfo != 0)
	}
	if c.short {
		return XactEnd{}, true, fmt.Errorf("read %s record at %s: %w: its body is cut off", x.Kind, r.LSN, ErrMalformed)
	}
	return x, true, nil
}

// endsTransaction tells whether the record is a commit or an abort.
func (r *Record) endsTransaction() bool {
	switch r.Info & xactOpMask {
	case opXactCommit, opXactAbort, opXactCommitPrep, opXactAbortPrep:
		return r.Rmgr == RmgrTransaction
	}
	return false
}

// decodeEnd reads the parts of a commit or abort up to the last one that is
// asked for; origin and global id, which follow, are not.
func (x *XactEnd) decodeEnd(c *cursor, major pg.Major, hasInfo bool) {
	x.Time = serverTime(c.u64())
	if !hasInfo {
		c.short = c.short || x.Kind == XactCommitPrepared || x.Kind == XactAbortPrepared
		return
	}
	parts := c.u32()
	if parts&xinfoDBInfo != 0 {
		c.take(8)
	}
	if parts&xinfoSubXacts != 0 {
		x.SubXIDs = c.xids(c.count(4))
	}
	if parts&xinfoRelFiles != 0 {
		x.DroppedRels = c.locators(c.count(locatorSize))
	}
	if major >= 15 && parts&xinfoDroppedStats != 0 {
		size := statsItemSize(major)
		c.take(c.count(size) * size)
	}
	if parts&xinfoInvals != 0 {
		c.take(c.count(invalMessageSize) * invalMessageSize)
	}
	switch {
	case parts&xinfoTwoPhase != 0:
		x.XID = pg.XID(c.u32())
	case x.Kind == XactCommitPrepared || x.Kind == XactAbortPrepared:
		c.short = true // without its id it names no transaction
	}
}

// statsItemSize is the size of xl_xact_stats_item: 18 widened the object id.
func statsItemSize(major pg.Major) int {
	if major >= 18 {
		return 16
	}
	return 12
}

// decodePrepare reads the header of a two-phase state file and the
// subtransactions. Each part behind the header begins at a multiple of eight.
func (x *XactEnd) decodePrepare(c *cursor, major pg.Major) {
	size := c.left()
	c.u32() // magic
	c.u32() // length of the file
	x.XID = pg.XID(c.u32())
	c.u32() // database
	x.Time = serverTime(c.u64())
	c.u32() // owner
	subxacts := c.u32()
	c.u32() // relations to drop on commit
	c.u32() // relations to drop on abort
	if major >= 15 {
		c.take(8) // statistics to drop on commit and on abort
	}
	c.u32() // invalidation messages
	c.u16() // one flag, and padding
	gidLen := int(c.u16())
	c.take(padding(size - c.left()))
	c.take(16) // replication origin
	x.GID = gid(c.take(gidLen))
	c.take(padding(size - c.left()))
	if int64(subxacts)*4 > int64(c.left()) {
		c.short = true
		return
	}
	x.SubXIDs = c.xids(int(subxacts))
}

// gid cuts the zero byte off that ends the name.
func gid(b []byte) string {
	name, _, _ := bytes.Cut(b, []byte{0})
	return string(name)
}

// XactAssignment reads a record that says whose subtransactions these are
// (xl_xact_assignment in access/xact.h); a primary writes one for every 64
// of them. ok is false for all other records, and for one that is cut off.
func (r *Record) XactAssignment() (top pg.XID, subs []pg.XID, ok bool) {
	if r.Rmgr != RmgrTransaction || r.Info&xactOpMask != opXactAssignment {
		return 0, nil, false
	}
	c := cursor{b: r.Main}
	top = pg.XID(c.u32())
	subs = c.xids(c.count(4))
	return top, subs, !c.short
}

// padding is how many bytes lie between an offset and the next multiple of eight.
func padding(off int) int { return -off & 7 }

// xids reads n transaction ids; n was checked against what is left.
func (c *cursor) xids(n int) []pg.XID {
	if n == 0 {
		return nil
	}
	ids := make([]pg.XID, n)
	for i := range ids {
		ids[i] = pg.XID(c.u32())
	}
	return ids
}

func (c *cursor) locators(n int) []pg.RelFileLocator {
	if n == 0 {
		return nil
	}
	ls := make([]pg.RelFileLocator, n)
	for i := range ls {
		ls[i] = c.locator()
	}
	return ls
}

// serverTime makes a time of a TimestampTz: microseconds since 2000-01-01 UTC.
func serverTime(us uint64) time.Time {
	const unixOf2000 = 946_684_800
	return time.UnixMicro(int64(us) + unixOf2000*1_000_000).UTC()
}
