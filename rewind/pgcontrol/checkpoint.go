package pgcontrol

import (
	"errors"
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Checkpoint is what a checkpoint says: a copy of the last one is in the
// control file, and each is in the WAL (CheckPoint in catalog/pg_control.h).
type Checkpoint struct {
	// Redo is where replay from this checkpoint begins.
	Redo pg.LSN
	// ThisTimeLineID is the timeline that the checkpoint is on, PrevTimeLineID
	// the one before it if the checkpoint begins a timeline, else the same.
	ThisTimeLineID, PrevTimeLineID pg.Timeline
	// FullPageWrites is the setting at the checkpoint's beginning.
	FullPageWrites bool
	// WALLevel is known from 17 on, and WALLevelUnknown before.
	WALLevel WALLevel
	// NextXID is the first transaction id that was not yet given out.
	NextXID         pg.FullXID
	NextOid         pg.Oid
	NextMulti       uint32
	NextMultiOffset uint32
	OldestXID       pg.XID
	OldestXIDDB     pg.Oid
	OldestMulti     uint32
	OldestMultiDB   pg.Oid
	// Time is when the checkpoint was made, in whole seconds, UTC.
	Time time.Time
	// OldestCommitTsXID and NewestCommitTsXID are zero where
	// track_commit_timestamp is off.
	OldestCommitTsXID, NewestCommitTsXID pg.XID
	// OldestActiveXID is the oldest transaction still running; zero in shutdown
	// checkpoints and where wal_level is minimal.
	OldestActiveXID pg.XID
}

// ParseCheckpoint reads the body of a checkpoint record: rmgr 0, info 0x00 or
// 0x10, 88 bytes. An unknown major gives ErrVersion, another length ErrSize, a
// checkpoint without a redo position or timeline ErrField.
func ParseCheckpoint(body []byte, major pg.Major) (Checkpoint, error) {
	l, ok := checkpointLayoutOf(major)
	if !ok {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: PostgreSQL %d: %w", major, ErrVersion)
	}
	if len(body) != checkpointSize {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %d bytes instead of %d: %w", len(body), checkpointSize, ErrSize)
	}
	c := readCheckpoint(body, l)
	if err := c.check(); err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w: %w", ErrField, err)
	}
	return c, nil
}

func readCheckpoint(b image, l checkpointLayout) Checkpoint {
	c := Checkpoint{
		Redo:              b.lsn(l.redo),
		ThisTimeLineID:    b.timeline(l.thisTimeLineID),
		PrevTimeLineID:    b.timeline(l.prevTimeLineID),
		FullPageWrites:    b.bool(l.fullPageWrites),
		WALLevel:          WALLevelUnknown,
		NextXID:           pg.FullXID(b.u64(l.nextXID)),
		NextOid:           b.oid(l.nextOid),
		NextMulti:         b.u32(l.nextMulti),
		NextMultiOffset:   b.u32(l.nextMultiOffset),
		OldestXID:         b.xid(l.oldestXID),
		OldestXIDDB:       b.oid(l.oldestXIDDB),
		OldestMulti:       b.u32(l.oldestMulti),
		OldestMultiDB:     b.oid(l.oldestMultiDB),
		Time:              b.time(l.time),
		OldestCommitTsXID: b.xid(l.oldestCommitTsXID),
		NewestCommitTsXID: b.xid(l.newestCommitTsXID),
		OldestActiveXID:   b.xid(l.oldestActiveXID),
	}
	if l.walLevel != 0 {
		c.WALLevel = WALLevel(b.i32(l.walLevel))
	}
	return c
}

func (c Checkpoint) check() error {
	switch {
	case c.Redo == 0:
		return errors.New("the checkpoint has no redo position")
	case c.ThisTimeLineID == 0:
		return errors.New("the checkpoint has no timeline")
	}
	return nil
}
