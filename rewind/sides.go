package rewind

import (
	"errors"
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

func sideOf(n node) Side {
	return Side{Timeline: n.timeline, History: n.history, State: n.control.State.String(), Checkpoint: n.control.CheckPoint, Redo: n.control.CheckPointCopy.Redo, Label: n.label, Began: n.began}
}

// sourceEnd is up to where the node has to replay before it is consistent.
func sourceEnd(s SourceState, c *pgcontrol.Control) pg.LSN {
	switch {
	case s.Running && !s.InRecovery:
		return s.FlushLSN
	case s.Running || isStandby(c):
		return c.MinRecoveryPoint
	}
	return checkpointEnd(c) // a stopped primary: its shutdown checkpoint is the last record
}

// checkpointEnd is where the record of the latest checkpoint ends: a header of
// 24 bytes, two that announce the data, and the 88 of the checkpoint itself
// (access/xlogrecord.h), aligned, with a page header where it goes over a page.
func checkpointEnd(c *pgcontrol.Control) pg.LSN {
	const size, shortHeader, longHeader = 24 + 2 + 88, 24, 40
	end := c.CheckPoint + (size+7)/8*8
	page := pg.LSN(c.WALBlockSize)
	next := (c.CheckPoint/page + 1) * page
	if end <= next {
		return end
	}
	if next%pg.LSN(c.WALSegSize) == 0 {
		return end + longHeader
	}
	return end + shortHeader
}

// checkSourceStopped refuses a directory whose files may lack what its WAL has.
func checkSourceStopped(s SourceState, c *pgcontrol.Control) error {
	if s.Running || c.State == pgcontrol.StateShutDown || c.State == pgcontrol.StateShutDownInRecovery {
		return nil
	}
	return &Error{Op: "check the source", Err: fmt.Errorf("%w: its server was not shut down cleanly (state: %s)", ErrSourceNotReady, c.State),
		Advice: "start and stop the source's server, or give it as a running server"}
}

func (pl *planner) checkStopped() error {
	err := refuseRunning(pl.t.dir)
	if errors.Is(err, ErrTargetRunning) && pl.countOnly {
		pl.warn("a server is running on the data directory and may write more")
		return nil
	}
	if errors.Is(err, ErrTargetRunning) && pl.engine.Options.AllowRunning {
		pl.warn("a server is running on the data directory: the plan is an estimate")
		return nil
	}
	return err
}

// checkVersionFile compares PG_VERSION with the control file: a directory in
// which they differ was put together by hand.
func (pl *planner) checkVersionFile() error {
	b, err := pl.t.readFile("PG_VERSION", 64)
	if err != nil {
		return &Error{Op: "read version", Path: "PG_VERSION", Err: errors.Join(ErrNotDataDir, err)}
	}
	major, err := pg.ParseVersionFile(b)
	if err != nil {
		return &Error{Op: "read version", Path: "PG_VERSION", Err: errors.Join(ErrUnsupported, err)}
	}
	if want := pl.target.control.Major(); major != want {
		return &Error{Op: "read version", Path: "PG_VERSION", Err: fmt.Errorf("%w: it says %d, the control file %d", ErrNotDataDir, major, want)}
	}
	return nil
}
