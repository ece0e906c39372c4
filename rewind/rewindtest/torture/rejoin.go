package torture

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// fromDir as Step.From is the stopped directory of the leader.
const fromDir = "dir"

// rejoin rewinds a node and starts it, or begins to.
func (p *player) rejoin(s Step) error {
	n, leader := p.nodes[s.Node], p.nodes[s.With]
	if err := p.keepForStock(n); err != nil {
		return err
	}
	src, done, err := p.source(s)
	if err != nil {
		return err
	}
	if s.Op == OpInterrupt {
		return errors.Join(p.interrupt(n, leader, src, s.Count), done())
	}
	_, err = p.rewind(context.Background(), n, leader, src)
	if err := errors.Join(err, done()); err != nil {
		return err
	}
	return n.Start()
}

// keepForStock copies the directory as it is before anything is done to it.
func (p *player) keepForStock(n *rewindtest.Node) error {
	name := stockName(n.Name)
	if !p.install.Has("pg_rewind") || p.nodes[name] != nil {
		return nil
	}
	c, err := n.CreateClone(name)
	if err != nil {
		return err
	}
	p.nodes[name] = c
	return nil
}

func stockName(node string) string { return "st" + node }

// source opens what the step rewinds from; done closes it, and starts the leader
// again where it had to be stopped.
func (p *player) source(s Step) (src rewind.Source, done func() error, err error) {
	from := p.nodes[s.With]
	if s.From == fromDir {
		p.hangUp(s.With)
		if err := from.Stop(rewindtest.Fast); err != nil {
			return nil, nil, err
		}
		dir, err := source.OpenDir(from.Dir)
		if err != nil {
			return nil, nil, err
		}
		return dir, func() error { return errors.Join(dir.Close(), from.Start()) }, nil
	}
	if s.From != "" {
		from = p.nodes[s.From]
	}
	sql, err := source.OpenSQL(context.Background(), source.SQLConfig{Conninfo: from.Conninfo()})
	if err != nil {
		return nil, nil, err
	}
	return sql, sql.Close, nil
}

// rewindTries bounds how often a source is asked that is not ready. The workload
// may copy a database again and again while it is asked.
const rewindTries = 5

// rewind does it, and where the source is not ready what the error's hint says:
// a checkpoint there.
func (p *player) rewind(ctx context.Context, n, leader *rewindtest.Node, src rewind.Source) (r *rewind.Report, err error) {
	for try := 1; ; try++ {
		r, err = p.rewindOnce(ctx, n, leader, src)
		if try == rewindTries || !errors.Is(err, rewind.ErrSourceNotReady) {
			return r, err
		}
		p.trace("%s: %v; a checkpoint at the source", n.Name, err)
		if err := p.checkpointSources(leader); err != nil {
			return nil, err
		}
	}
}

// checkpointSources makes a checkpoint at the leader, and has the standby that
// may be the source, and may be paused, come to it.
func (p *player) checkpointSources(leader *rewindtest.Node) error {
	if err := leader.Checkpoint(); err != nil {
		return err
	}
	second := p.nodes[secondNode]
	if second == nil || second == leader || !second.Running() {
		return nil
	}
	if err := second.Exec("SELECT pg_wal_replay_resume()"); err != nil {
		return err
	}
	return errors.Join(replayed(second, leader), second.Checkpoint())
}

func (p *player) rewindOnce(ctx context.Context, n, leader *rewindtest.Node, src rewind.Source) (*rewind.Report, error) {
	e := &rewind.Engine{PGData: n.Dir, Source: src, Options: rewind.Options{
		NoSync:  true,
		Standby: &rewind.Standby{Conninfo: leader.Conninfo("application_name=" + n.Name)},
	}}
	plan, err := e.Plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.result.Strategies = append(p.result.Strategies, string(plan.Strategy))
	p.trace("%s: strategy %s, %s; fork %v, replay %+v, end of WAL %s, %d blocks, lost %d, WAL fetch %d keep %d aside %d trim %v", n.Name, plan.Strategy, plan.Reason, plan.Fork,
		plan.Replay, plan.Target.EndOfWAL, plan.Totals.Blocks, plan.Lost.Commits, len(plan.WAL.Fetch), len(plan.WAL.Keep), len(plan.WAL.SetAside), plan.WAL.Trim)
	r, err := e.Apply(ctx, plan)
	if err != nil {
		return r, fmt.Errorf("apply: %w", err)
	}
	p.result.Blocks += plan.Totals.Blocks
	p.result.Lost += plan.Lost.Commits
	return r, nil
}

// errBroken is the end of an interrupted rewind.
var errBroken = errors.New("broken off by the schedule")

// interrupt rewinds until the source has been asked so many times, and then ends
// it; that it gets to its end before is possible.
func (p *player) interrupt(n, leader *rewindtest.Node, src rewind.Source, calls int) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	_, err := p.rewind(ctx, n, leader, &breaking{Source: src, left: int64(calls), cancel: cancel})
	if !errors.Is(err, errBroken) && !errors.Is(err, context.Canceled) {
		p.trace("%s: not broken off: %v", n.Name, err)
		return err
	}
	_, half, err := rewind.ReadInterrupted(n.Dir)
	p.trace("%s: broken off, half done %t", n.Name, half)
	return err
}

// breaking is a source that gives up after so many answers.
type breaking struct {
	rewind.Source
	left   int64
	cancel context.CancelCauseFunc
}

func (b *breaking) answer() error {
	if atomic.AddInt64(&b.left, -1) > 0 {
		return nil
	}
	b.cancel(errBroken)
	return errBroken
}

// ReadFile is Source.ReadFile.
func (b *breaking) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if err := b.answer(); err != nil {
		return nil, err
	}
	return b.Source.ReadFile(ctx, path)
}

// ReadRanges is Source.ReadRanges.
func (b *breaking) ReadRanges(ctx context.Context, ranges []rewind.Range, fn func(rewind.Chunk) error) error {
	return b.Source.ReadRanges(ctx, ranges, func(c rewind.Chunk) error {
		if err := b.answer(); err != nil {
			return err
		}
		return fn(c)
	})
}

// HashRanges is Source.HashRanges.
func (b *breaking) HashRanges(ctx context.Context, ranges []rewind.Range) ([]rewind.Sum, error) {
	if err := b.answer(); err != nil {
		return nil, err
	}
	return b.Source.HashRanges(ctx, ranges)
}

// tablespaces are the names that statements may use.
func (s Schedule) tablespaces() []string {
	var names []string
	if s.Settings.Tablespace {
		names = append(names, "away")
	}
	if s.Major >= 15 {
		names = append(names, "here")
	}
	return names
}
