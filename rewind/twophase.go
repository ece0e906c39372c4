package rewind

import (
	"context"
	"path"
	"strconv"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// twoPhaseDir holds a state file for each transaction that was prepared before
// the last checkpoint (access/transam/twophase.c).
const twoPhaseDir = "pg_twophase"

// dropFutureTwoPhase leaves out the source's state files of transactions that
// had no id yet at the checkpoint from which the node will replay: replay makes
// them anew, from the records that prepare them. The server would have to remove
// them first. Some releases of 17 and 18 fail at that, because they get the
// epoch in the file's name wrong, and then take the record for a transaction
// that they have restored already: when the node is promoted, it is gone.
func (pl *planner) dropFutureTwoPhase(ctx context.Context, m *fileMap) (err error) {
	var next pg.XID
	for p, j := range m.files {
		xid, ok := twoPhaseXID(p)
		if !ok || j.src == nil {
			continue
		}
		if next == 0 {
			if next, err = pl.nextXIDAtReplay(ctx); err != nil {
				return err
			}
		}
		if !precedes(xid, next) {
			j.src = nil
		}
	}
	return nil
}

// nextXIDAtReplay reads the record of the checkpoint from which the node will
// replay. A control file does not do: a standby keeps a later id in it.
func (pl *planner) nextXIDAtReplay(ctx context.Context) (_ pg.XID, err error) {
	r := walReaderFrom(plannedWAL{pl}, pl.source)
	defer closing(&err, r.Close)
	c, err := checkpointAt(ctx, r, pl.p.Replay.LSN)
	return c.nextXID, err
}

// twoPhaseXID reads the name of a state file: the transaction id in hexadecimal,
// from 17 on with the epoch before it.
func twoPhaseXID(p string) (pg.XID, bool) {
	name := path.Base(p)
	if path.Dir(p) != twoPhaseDir || len(name) != 8 && len(name) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 16, 64)
	return pg.XID(n), err == nil // the epoch goes: precedes compares modulo 2^32
}
