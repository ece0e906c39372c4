package rewind

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/journal"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Apply carries the plan out. The data directory must be as it was when the
// plan was made, and no server may run on it. The report comes with an error as
// well: it tells how far the work came.
func (e *Engine) Apply(ctx context.Context, p *Plan) (report *Report, err error) {
	t, release, err := e.openExclusively()
	if err != nil {
		return nil, err
	}
	defer closing(&err, release)
	a := &applier{engine: e, run: e.newRun(), w: e.newWriter(t), p: p}
	err = a.apply(ctx)
	return &Report{Plan: p, FetchedBytes: a.fetched, FetchedWALBytes: a.fetchedWAL, MinRecovery: a.minRecovery, Salvaged: a.salvaged, Durations: a.run.finish()}, err
}

// applier carries one Apply call.
type applier struct {
	engine  *Engine
	run     *run
	w       *writer
	p       *Plan
	resume  *resume
	journal *journal.Journal

	// still: the source is a stopped directory, in which nothing may change.
	still bool

	fetched     int64 // WAL included
	fetchedWAL  int64
	minRecovery pg.LSN
	salvaged    *Salvaged
	// walChecked is how far checkFetchedWAL has read; zero for not at all.
	walChecked pg.LSN
}

func (a *applier) apply(ctx context.Context) (err error) {
	if err := a.checkUnchanged(ctx); err != nil {
		return err
	}
	if a.p.onlyStandby() {
		a.run.begin(PhaseFinish, 0)
		if err := a.mayCommit(ctx); err != nil {
			return err
		}
		if err := refuseRunning(a.w.dir); err != nil {
			return err
		}
		return a.writeStandby()
	}
	defer func() { err = errors.Join(err, a.closeJournal()) }()
	if err := a.latch(); err != nil {
		return errors.Join(err, a.neverLatched())
	}
	if err := a.bring(ctx); err != nil {
		return err
	}
	if err := a.tidy(ctx); err != nil {
		return err
	}
	control, err := a.settle(ctx)
	if err != nil {
		return err
	}
	a.run.begin(PhaseSync, 0)
	if err := a.w.sync(); err != nil {
		return err
	}
	if err := a.arrangeWAL(); err != nil {
		return err
	}
	return a.finish(ctx, control)
}

// checkUnchanged looks once more at the directory: nothing may have happened to
// it since the plan was made.
func (a *applier) checkUnchanged(ctx context.Context) error {
	a.run.begin(PhaseInspect, 0)
	err := refuseRunning(a.w.dir)
	if err != nil {
		return err
	}
	if err := a.tidyFinished(); err != nil {
		return err
	}
	if a.resume, err = readResume(a.w.target); err != nil {
		return err
	}
	if err := a.resume.undoBegun(); err != nil {
		return err
	}
	if (a.resume != nil) != a.p.Resumed {
		return a.changed("the journal of an interrupted run came or went")
	}
	a.w.continues = a.resume != nil
	now, err := readTarget(ctx, a.w.target, a.resume)
	if err != nil {
		return err
	}
	was := a.p.Target
	if now.control.CheckPoint != was.Checkpoint || now.control.State.String() != was.State || now.timeline != was.Timeline {
		return a.changed("a server ran on the directory")
	}
	return nil
}

func (a *applier) changed(what string) error {
	return &Error{Op: "compare with the plan", Err: fmt.Errorf("%w: %s since the plan was made", ErrNotDataDir, what), Advice: "make a new plan"}
}

// bring fetches: first the WAL, which the source may recycle any moment, then
// everything else.
func (a *applier) bring(ctx context.Context) error {
	a.run.begin(PhaseCopy, a.p.Totals.FetchBytes)
	if err := a.fetchWAL(ctx, a.p.WAL.Fetch, a.p.Source.EndOfWAL); err != nil {
		return err
	}
	for _, p := range a.p.WAL.Restore {
		if err := a.restore(ctx, p); err != nil {
			return err
		}
	}
	state, err := a.engine.Source.State(ctx)
	if err != nil {
		return err
	}
	a.still = !state.Running
	if err := a.checkFetchedWAL(ctx, a.p.Source.EndOfWAL); err != nil {
		return err
	}
	f := a.newFetcher()
	for i := range a.p.Entries {
		if err := a.prepare(f, &a.p.Entries[i]); err != nil {
			return err
		}
	}
	return f.run(ctx)
}

// fetchWAL brings WAL files from the source to where they wait: of the segment
// that holds the end only what is written.
func (a *applier) fetchWAL(ctx context.Context, files []File, end pg.LSN) error {
	f := a.newFetcher()
	for _, file := range files {
		var err error
		if n := a.p.written(file.Path, end); n > 0 {
			err = f.addSegment(file.Path, staged(file.Path), n, file.Size)
		} else {
			err = f.addFile(file.Path, staged(file.Path), file.Size)
		}
		if err != nil {
			return err
		}
	}
	return f.run(ctx)
}

// restore brings a segment from the archive to where fetched ones wait.
func (a *applier) restore(ctx context.Context, p string) error {
	name := path.Base(p)
	if a.w.archive == nil {
		return a.changed("the restore command was taken away")
	}
	f, err := a.w.archive.open(ctx, name)
	if err != nil {
		return &Error{Op: "restore WAL", Path: p, Err: errors.Join(ErrTargetWAL, err)}
	}
	defer f.Close()
	if _, err := checkSegmentSize(f, name, a.p.WALSegSize); err != nil {
		return err
	}
	return a.w.copyFrom(f, staged(p), int64(a.p.WALSegSize), int64(a.p.WALSegSize))
}

// written is how much of a WAL segment lies before end, in whole pages; zero
// for other files.
func (p *Plan) written(name string, end pg.LSN) int64 {
	_, no, ok := pg.ParseSegmentName(path.Base(name), p.WALSegSize)
	if !ok {
		return 0
	}
	start := no.Start(p.WALSegSize)
	if end <= start {
		return blockSize
	}
	return min(int64(p.WALSegSize), int64(end-start+blockSize-1)/blockSize*blockSize)
}

// staged is where a fetched WAL file waits to be moved into pg_wal.
func staged(p string) string { return stagedDir + "/" + path.Base(p) }

// prepare makes the place for one entry and queues what is to be fetched.
func (a *applier) prepare(f *fetcher, e *Entry) error {
	switch e.Action {
	case ActionMkdir:
		return a.w.mkdir(e.Path)
	case ActionSymlink:
		return a.w.symlink(e.Path, e.Link)
	case ActionCopy:
		if a.empty(e) {
			return a.w.makeEmpty(e.Path)
		}
		return f.addFile(e.Path, e.Path, e.SourceSize)
	case ActionTail:
		f.addRange(e.Path, e.tailStart(), e.SourceSize-e.tailStart())
	}
	for _, r := range e.Blocks {
		f.addRange(e.Path, int64(r.First)*blockSize, int64(r.Count)*blockSize)
	}
	return nil
}

// empty tells whether a file is made instead of fetched. What a running source
// writes to a file after its checkpoint is in the WAL that will be replayed, so
// that an empty one need not be read; and it may be no file at all: to a server
// a pipe looks like one, and opening it would hang the session that fetches.
func (a *applier) empty(e *Entry) bool {
	_, isRel := pg.ParseRelPath(e.Path, a.p.Major)
	return e.SourceSize == 0 && !isRel && !a.still
}

// tidy truncates, removes and arranges pg_wal.
func (a *applier) tidy(ctx context.Context) error {
	a.run.begin(PhaseTidy, 0)
	if err := a.w.imageEnds(a.p.Entries); err != nil {
		return err
	}
	for i := range a.p.Entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		e := &a.p.Entries[i]
		var err error
		switch e.Action {
		case ActionTruncate:
			err = a.w.truncate(e.Path, e.SourceSize)
		case ActionRemove:
			err = a.w.remove(e.Path)
			if errors.Is(err, unix.ENOTEMPTY) && !pg.InDataDirs(e.Path) {
				a.run.warn(fmt.Sprintf("directory %q is kept: something was put into it during the work", e.Path))
				err = nil
			}
		}
		if err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// arrangeWAL exchanges the files in pg_wal, by renaming: the target's own that
// recovery must not find go aside, the fetched ones come in.
func (a *applier) arrangeWAL() error {
	if t := a.p.WAL.Trim; t != nil {
		if err := a.trim(t); err != nil {
			return err
		}
	}
	for _, p := range a.p.WAL.SetAside {
		if err := a.setAside(p); err != nil {
			return err
		}
	}
	if err := a.w.sync(); err != nil { // aside is complete before anything takes its place
		return err
	}
	for _, p := range a.p.WAL.in() {
		if err := a.w.rename(staged(p), p); err != nil {
			return err
		}
	}
	return a.w.sync()
}

// setAside moves a file out of recovery's sight. What already lies aside under
// that name is the target's own, from an interrupted run; then the one in
// pg_wal is what that run had fetched.
func (a *applier) setAside(p string) error {
	to := savedWAL(p)
	own, err := a.w.exists(to)
	if err != nil {
		return a.w.fail("look at", to, err)
	}
	if own {
		return a.w.remove(p)
	}
	if err := a.w.rename(p, to); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// trim stages a copy of the segment with the fork, blank behind it.
func (a *applier) trim(t *Trim) error {
	from := t.Path
	aside := savedWAL(t.Path)
	if ok, err := a.w.exists(aside); err != nil {
		return a.w.fail("look at", aside, err)
	} else if ok {
		from = aside
	}
	size := int64(a.p.WALSegSize)
	return a.w.copyPrefix(from, staged(t.Path), int64(t.From)%size, size)
}
