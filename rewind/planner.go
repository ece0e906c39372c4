package rewind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// Plan reads both sides and says what Apply would do. It writes nothing.
func (e *Engine) Plan(ctx context.Context) (p *Plan, err error) {
	t, err := e.open()
	if err != nil {
		return nil, err
	}
	defer closing(&err, t.close)
	pl := &planner{engine: e, run: e.newRun(), t: t, p: &Plan{Format: PlanFormat}}
	if err := pl.make(ctx); err != nil {
		return nil, err
	}
	pl.run.finish()
	return pl.p, nil
}

// planner carries one Plan call.
type planner struct {
	engine *Engine
	run    *run
	t      *target
	p      *Plan
	// countOnly: only what is lost is asked for (Engine.Lost).
	countOnly bool

	resume         *resume
	target, source node
	state          SourceState
	common         commonCheckpoint
	changes        *changes
}

func (pl *planner) make(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		pl.inspect, pl.scan, pl.choose, pl.files, pl.wal, pl.check,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return pl.sum()
}

// inspect reads what both sides say of themselves, and refuses what does not fit.
func (pl *planner) inspect(ctx context.Context) (err error) {
	pl.run.begin(PhaseInspect, 0)
	if err := pl.checkStopped(); err != nil {
		return err
	}
	if pl.resume, err = readResume(pl.t); err != nil {
		return err
	}
	if err := pl.resume.undoBegun(); err != nil {
		return err
	}
	if pl.resume != nil && pl.resume.ended() {
		pl.resume = nil // Apply will tidy up; there is nothing to continue
	}
	if pl.target, err = readTarget(ctx, pl.t, pl.resume); err != nil {
		return err
	}
	if pl.state, err = pl.engine.Source.State(ctx); err != nil {
		return err
	}
	if pl.source, err = readSource(ctx, pl.engine.Source); err != nil {
		return err
	}
	if err := checkPair(pl.target.control, pl.source.control); err != nil {
		return err
	}
	if err := pl.checkVersionFile(); err != nil {
		return err
	}
	if err := checkSourceStopped(pl.state, pl.source.control); err != nil {
		return err
	}
	if err := pl.checkImages(); err != nil {
		return err
	}
	if err := pl.checkPlaces(ctx); err != nil {
		return err
	}
	pl.p.Fork, err = findFork(pl.target, pl.source)
	pl.p.Resumed = pl.resume != nil
	pl.p.SystemID = pl.target.control.SystemIdentifier
	pl.p.Major = pl.target.control.Major()
	pl.p.RelSegSize = pl.target.control.RelSegSize
	pl.p.WALSegSize = pl.target.control.WALSegSize
	pl.p.Checksums = pl.target.control.DataChecksumVersion != 0
	pl.p.Target = sideOf(pl.target)
	pl.p.Source = sideOf(pl.source)
	pl.p.Source.EndOfWAL = sourceEnd(pl.state, pl.source.control)
	return err
}

// scan reads the target's WAL from the last common checkpoint on, and compares
// it with the source's. Where the two part earlier than their histories say it
// begins again from before that point, each time a timeline further back.
func (pl *planner) scan(ctx context.Context) error {
	for {
		if err := pl.scanFromCheckpoint(ctx); err != nil {
			return err
		}
		earlier, err := pl.compareBranches(ctx)
		if err != nil || earlier == nil {
			return err
		}
		pl.warn(fmt.Sprintf("by their histories both nodes are on timeline %d from %s on, by their WAL on two: it counts as diverged from there on",
			pl.target.history.At(earlier.LSN), earlier.LSN))
		pl.p.Fork = *earlier
	}
}

// scanFromCheckpoint finds the checkpoint to start from and reads the WAL from there.
func (pl *planner) scanFromCheckpoint(ctx context.Context) (err error) {
	pl.run.begin(PhaseScanWAL, 0)
	r := newWALReader(pl.t, pl.target)
	defer closing(&err, r.Close)
	if pl.common, err = findCheckpoint(ctx, r, pl.target, pl.p.Fork.LSN); err != nil {
		return err
	}
	s := pl.scanner()
	from := pl.common.LSN
	if s.complete {
		if from, err = findScanStart(ctx, r, pl.target, pl.common); err != nil {
			return err
		}
		complete, err := pl.imagesComplete(ctx, pl.common.Redo, from)
		if err != nil {
			return err
		}
		pl.common.fullPageWrites = pl.common.fullPageWrites && complete
	}
	if pl.changes, err = s.run(ctx, pl.common, from); err != nil {
		return err
	}
	pl.p.Target.EndOfWAL = pl.changes.end
	if pl.changes.gap {
		pl.warn(fmt.Sprintf("behind the end of this node's WAL, %s, lies more of it that was never flushed, as a loss of power leaves it; what it holds is counted nowhere", pl.changes.end))
	}
	pl.p.Lost = pl.changes.lost
	pl.p.Lost.Transactions, pl.p.Lost.MoreTransactions = nil, 0 // see Engine.Lost
	return nil
}

func (pl *planner) scanner() *scanner {
	s := &scanner{t: pl.t, node: pl.target, fork: pl.p.Fork.LSN, progress: pl.run.advanceTo, countOnly: pl.countOnly}
	// A standby whose files end before the fork is only asked what WAL it holds:
	// of that it may have less than its files would need, and stream the rest.
	s.complete = !isStandby(pl.target.control) || dataEnd(pl.target.control, 0) > s.fork || pl.resume.copied()
	return s
}

// choose picks the strategy, and says why.
func (pl *planner) choose(ctx context.Context) error {
	fork, c := pl.p.Fork.LSN, pl.target.control
	if err := pl.checkFollowed(ctx); err != nil {
		return err
	}
	if end := dataEnd(c, pl.changes.end); end <= fork && !pl.resume.copied() && !pl.mirrorsCrashed() {
		pl.p.Strategy = StrategyNone
		pl.p.Reason = "everything that this node has is in the source's history"
		if pl.changes.end > fork {
			pl.p.Reason = "the data files end before the fork; only WAL that was received and never replayed reaches behind it"
		}
		return nil
	}
	if c.WALLevel == pgcontrol.WALLevelMinimal {
		return &Error{Op: "choose a strategy", Err: fmt.Errorf("%w: this node ran with wal_level = minimal", ErrNoStrategy),
			Advice: "what was loaded under wal_level = minimal is not in the WAL; take a new base backup"}
	}
	if !hintsLogged(c) {
		return &Error{Op: "choose a strategy", Err: fmt.Errorf("%w: this node has neither data checksums nor wal_log_hints", ErrHints),
			Advice: "take a new base backup, then switch on wal_log_hints or data checksums, so that the next failback can be done"}
	}
	pl.p.Strategy = StrategyWAL
	pl.p.Reason = fmt.Sprintf("the WAL since the last common checkpoint is here, and %s made it complete", hintsBy(c))
	pl.p.Replay = replayStart(pl.common.Checkpoint, pl.source.control)
	return nil
}

// mirrorsCrashed tells whether pg_rewind would rewind although nothing of the
// target's lies behind the fork: it sends a primary that was not shut down
// cleanly through crash recovery first, and that writes a checkpoint behind the
// fork. Those who ask for pg_rewind's ways count on the source's files then.
func (pl *planner) mirrorsCrashed() bool {
	c := pl.target.control
	return pl.engine.Options.Mirror && pl.p.Fork.LSN != pg.MaxLSN &&
		!isStandby(c) && c.State != pgcontrol.StateShutDown && hintsLogged(c)
}

func hintsLogged(c *pgcontrol.Control) bool { return c.DataChecksumVersion != 0 || c.WALLogHints }

func hintsBy(c *pgcontrol.Control) string {
	if c.DataChecksumVersion != 0 {
		return "data checksums"
	}
	return "wal_log_hints"
}

// files lists both sides and decides about every path.
func (pl *planner) files(ctx context.Context) error {
	pl.run.begin(PhaseList, 0)
	m, err := listBoth(ctx, pl.t, pl.engine.Source, pl.p.Major)
	if err != nil {
		return err
	}
	pl.p.Target.Bytes, pl.p.Target.Files = m.targetBytes, m.targetFiles
	pl.p.Source.Bytes, pl.p.Source.Files = m.sourceBytes, m.sourceFiles
	if err := pl.replayCopies(ctx, m); err != nil {
		return err
	}
	if err := pl.planWAL(ctx, m); err != nil || pl.p.Strategy == StrategyNone {
		return err
	}
	if pl.changes.marks {
		if err := m.addMarked(ctx, pl.t, pl.p.RelSegSize, pl.changes.pages); err != nil {
			return err
		}
	}
	if err := m.checkTablespaces(); err != nil {
		return err
	}
	if err := pl.dropFutureTwoPhase(ctx, m); err != nil {
		return err
	}
	d := &decider{
		major:            pl.p.Major,
		blocksPerSegment: pl.target.control.RelSegSize,
		pages:            pl.changes.pages,
		preserve:         pl.engine.Options.Preserve,
		begun:            pl.resume.begun(),
		mirror:           pl.engine.Options.Mirror,
	}
	entries, compare, kept, err := m.entries(d)
	if err != nil {
		return err
	}
	changed, err := pl.compare(ctx, compare)
	if err != nil {
		return err
	}
	pl.p.Totals.SameFiles = len(compare) - len(changed)
	pl.p.Entries = append(entries, changed...)
	pl.p.Kept = kept
	sortEntries(pl.p.Entries)
	pl.noteSlots()
	return nil
}

func (pl *planner) compare(ctx context.Context, es []Entry) ([]Entry, error) {
	var total int64
	for _, e := range es {
		total += e.SourceSize
	}
	pl.run.begin(PhaseCompare, total)
	return differing(ctx, pl.t, pl.engine.Source, es, pl.engine.workers(), pl.run.advance)
}

// noteSlots names the replication slots that go: their positions are on the
// branch that is given up, and they would hold WAL back for ever.
func (pl *planner) noteSlots() {
	for _, e := range pl.p.Entries {
		if e.Action == ActionRemove && e.Kind == KindDir && path.Dir(e.Path) == "pg_replslot" {
			pl.p.SlotsDropped = append(pl.p.SlotsDropped, path.Base(e.Path))
		}
	}
}

func (pl *planner) planWAL(ctx context.Context, m *fileMap) (err error) {
	w := &walPlanner{
		segSize: pl.target.control.WALSegSize,
		source:  pl.source.history,
		fork:    pl.p.Fork,
		from:    pl.p.Replay.Redo,
		ownEnd:  pl.changes.end,
		end:     pl.p.Source.EndOfWAL,
		files:   m.files,
		archive: func(name string) (bool, error) { return pl.t.inArchive(ctx, name) },
	}
	if w.known, err = pl.t.knownTimelines(m.files, pl.source.history); err != nil {
		return err
	}
	if pl.resume != nil {
		if w.aside, err = pl.t.names(asideDir); err != nil {
			return err
		}
	}
	if pl.p.WAL, err = w.plan(); err != nil {
		return err
	}
	return pl.checkRestored(ctx)
}

// wal warns of what is unusual about pg_wal.
func (pl *planner) wal(context.Context) error {
	ready := 0
	for _, f := range pl.p.WAL.SetAside {
		if path.Ext(f) == ".ready" {
			ready++
		}
	}
	if n := len(pl.p.WAL.SetAside); pl.p.Strategy == StrategyNone && pl.p.WAL.Trim == nil && n > 0 {
		pl.warn(fmt.Sprintf("%d files in pg_wal are of a timeline that the source does not know, none of which was replayed here: they go, so that recovery does not follow them", n))
	}
	if ready > 0 {
		pl.warn(fmt.Sprintf("%d WAL segments of the branch that is given up were never archived", ready))
	}
	return nil
}

// check predicts failures, after the totals that it needs.
func (pl *planner) check(context.Context) error {
	pl.p.Totals = pl.totals()
	if pl.p.onlyStandby() {
		if pl.engine.Options.Standby == nil {
			return nil
		}
		return checkWritable(pl.t, "", map[string]bool{})
	}
	return preflight(pl.t, pl.p, !pl.engine.Options.NoUndo)
}

func (pl *planner) warn(text string) {
	pl.p.Warnings = append(pl.p.Warnings, text)
	pl.run.warn(text)
}

// sum sets the digest.
func (pl *planner) sum() error {
	pl.p.Digest = ""
	b, err := json.Marshal(pl.p)
	if err != nil {
		return fmt.Errorf("digest plan: %w", err)
	}
	h := sha256.Sum256(b)
	pl.p.Digest = hex.EncodeToString(h[:])
	return nil
}
