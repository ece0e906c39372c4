package rewindtest

import (
	"context"
	"errors"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Opts says what a failover scene looks like. The zero value: the old primary
// writes on while the standby is promoted and for a while after it, then is
// stopped in fast mode; the new one has written too.
type Opts struct {
	// Cluster is how the old primary is made.
	Cluster Options
	// Seed of all the writing.
	Seed uint64
	// Rows to begin with; 500 if zero (a row takes about 300 bytes with its indexes).
	Rows int
	// Steps of workload on each side after the fork; 30 if zero.
	Steps int
	// Clean stops the old primary in fast mode before the promotion: the standby
	// has received everything, nothing diverges.
	Clean bool
	// KillOld ends the old primary by SIGKILL while it writes.
	KillOld bool
	// OldRunning leaves the old primary running, without clients.
	OldRunning bool
	// Quiet lets nobody write during the promotion, so that no transaction is
	// open at the fork.
	Quiet bool
	// CheckpointsAfterFork is how many checkpoints the old primary makes while it
	// writes after the fork.
	CheckpointsAfterFork int
	// NoCheckpointOnNew leaves out the explicit checkpoint after the promotion,
	// without which pg_rewind up to 15 sees the new primary on its old timeline.
	NoCheckpointOnNew bool
	// Before runs once both nodes are up, before the fork: tablespaces, databases.
	Before func(old, standby *Node) error
}

// Pair is what a failover leaves behind.
type Pair struct {
	// Old is the former primary; stopped, unless Opts.OldRunning.
	Old *Node
	// New is the promoted standby, running.
	New *Node
	// Fork is where the new primary's timeline left the old one's.
	Fork pg.LSN
	// OldEnd is how far the old primary's WAL reached at least, taken just before
	// it was stopped or killed: beyond Fork unless Opts.Clean.
	OldEnd pg.LSN
}

// Close closes both nodes.
func (p Pair) Close() error {
	var err error
	for _, n := range []*Node{p.New, p.Old} {
		if n != nil {
			err = errors.Join(err, n.Close())
		}
	}
	return err
}

// Diverged makes the scene and closes it with the test.
func Diverged(t testing.TB, install Install, opts Opts) Pair {
	t.Helper()
	p, err := CreateDiverged(NewRoot(t), install, opts)
	if err != nil {
		t.Fatal(err)
	}
	p.Old.closeWith(t)
	p.New.closeWith(t)
	return p
}

// CreateDiverged makes the scene below root (see CreatePrimary): nodes "node1",
// the old primary, and "node2", the new one. Where amcheck is installed both have
// it in every database. Close the pair.
func CreateDiverged(root string, install Install, opts Opts) (_ Pair, err error) {
	if opts.Rows == 0 {
		opts.Rows = 500
	}
	if opts.Steps == 0 {
		opts.Steps = 30
	}
	if opts.Cluster.Name == "" {
		opts.Cluster.Name = "node1"
	}
	var p Pair
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.Old, err = CreatePrimary(root, install, opts.Cluster); err != nil {
		return Pair{}, err
	}
	common := NewWorkload(opts.Seed*3 + 1)
	if err := prepare(p.Old, common, opts); err != nil {
		return Pair{}, err
	}
	if p.New, err = p.Old.CreateStandby(StandbyOptions{Name: "node2"}); err != nil {
		return Pair{}, err
	}
	if opts.Before != nil {
		if err := opts.Before(p.Old, p.New); err != nil {
			return Pair{}, err
		}
	}
	if err := common.Run(context.Background(), p.Old, 10); err != nil {
		return Pair{}, err
	}
	if err := p.New.WaitForCatchup(p.Old); err != nil {
		return Pair{}, err
	}
	switch {
	case opts.Clean:
		err = p.switchOver(opts)
	default:
		err = p.splitBrain(opts)
	}
	if err != nil {
		return Pair{}, err
	}
	return p, nil
}

func prepare(old *Node, w *Workload, opts Opts) error {
	if err := installAmcheck(old); err != nil {
		return err
	}
	if err := w.Setup(old, opts.Rows); err != nil {
		return err
	}
	return w.Run(context.Background(), old, 10)
}

// switchOver: all of the old primary's WAL is on the standby before it takes over.
func (p *Pair) switchOver(opts Opts) error {
	if err := p.noteOldEnd(); err != nil {
		return err
	}
	if err := p.Old.Stop(Fast); err != nil { // waits for the standby to have it all
		return err
	}
	if err := p.promote(opts); err != nil {
		return err
	}
	if err := p.writeOnNew(opts); err != nil || !opts.OldRunning {
		return err
	}
	return p.Old.Start()
}

// splitBrain: both are primaries for a while, and both write.
func (p *Pair) splitBrain(opts Opts) error {
	diverging := NewWorkload(opts.Seed*3 + 2)
	if opts.Quiet {
		if err := p.promote(opts); err != nil {
			return err
		}
	}
	load := diverging.Start(p.Old)
	err := load.Await(3)
	if err == nil && !opts.Quiet {
		err = p.promote(opts)
	}
	for range opts.CheckpointsAfterFork {
		if err == nil {
			err = errors.Join(p.Old.Checkpoint(), load.Await(3))
		}
	}
	if err == nil {
		err = load.Await(opts.Steps)
	}
	if err == nil {
		err = p.noteOldEnd()
	}
	if err == nil && opts.KillOld {
		err = p.Old.Kill()
	}
	if err := errors.Join(err, load.Stop()); err != nil {
		return err
	}
	if !opts.KillOld && !opts.OldRunning {
		if err := p.Old.Stop(Fast); err != nil {
			return err
		}
	}
	return p.writeOnNew(opts)
}

func (p *Pair) noteOldEnd() (err error) {
	p.OldEnd, err = p.Old.EndOfWAL()
	return err
}

func (p *Pair) promote(opts Opts) error {
	if err := p.New.Promote(); err != nil {
		return err
	}
	v, err := p.New.Value("SELECT split_part(pg_read_file('pg_wal/00000002.history'), E'\\t', 2)")
	if err != nil {
		return err
	}
	if p.Fork, err = pg.ParseLSN(v); err != nil || opts.NoCheckpointOnNew {
		return err
	}
	return p.New.Checkpoint()
}

func (p *Pair) writeOnNew(opts Opts) error {
	return NewWorkload(opts.Seed*3+3).Run(context.Background(), p.New, opts.Steps)
}
