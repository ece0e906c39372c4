package rewind

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/failback-hook/failback-hook/rewind/journal"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// Kinds of journal records. A run writes one recordPlan (the plan without its
// entries), any number of recordEntries and recordStates, one recordReady; more
// recordStates for files that it learns of later; when all is durable one
// recordDone. A run that continues adds the same again.
const (
	recordPlan    = 1
	recordEntries = 2
	recordReady   = 3
	// recordDone has the hash of the control file that makes the directory startable.
	recordDone = 4
	// recordStates has pre-states: what lay where the run will change something.
	recordStates = 5
	// recordUndo: an undo was begun, and has to be finished.
	recordUndo = 6
	// recordNoUndo: what had been saved for undoing was given up.
	recordNoUndo = 7
)

// resume is what an interrupted run left: what it had planned, and the control
// file of the target as it was before.
type resume struct {
	// plans of all the runs so far; the first one knows the target as it was.
	plans   []*Plan
	control *pgcontrol.Control
	// raw is the image of control.
	raw []byte
	// finished: the new pg_control is in place; the journal is only there for undoing.
	finished bool
	// undoing: an undo was begun and not finished.
	undoing bool
	// undone: it was, but for the engine's own files.
	undone bool
	// undoable: everything that was changed can be given back. states are the
	// pre-states of all paths, by path.
	undoable bool
	states   map[string]*preState
	// published is the hash of the new control file, where there is one.
	published controlHash
}

// ended tells whether there is nothing to continue.
func (r *resume) ended() bool { return r.finished || r.undone }

func (r *resume) first() *Plan { return r.plans[0] }

// ownsWAL tells whether a segment that is found aside or in pg_wal is the
// target's own. Those that reach behind the fork were all listed, to be set
// aside, by the first run that knew of the fork: what bears such a name and is
// not on that list came from a source. The names alone do not tell: two nodes
// that were promoted to the same timeline number give their segments the same.
func (r *resume) ownsWAL(name string) bool {
	if r == nil {
		return true
	}
	for _, p := range r.plans {
		if p.Strategy == StrategyNone && p.WAL.Trim == nil {
			continue // it brought no segment, and set only strays aside
		}
		if behindFork(name, p.Fork, p.WALSegSize) {
			return slices.Contains(p.WAL.SetAside, "pg_wal/"+name)
		}
	}
	return true
}

// copied tells whether one of the interrupted runs was to change data files;
// false for a nil r.
func (r *resume) copied() bool {
	if r == nil {
		return false
	}
	for _, p := range r.plans {
		if p.Strategy != StrategyNone {
			return true
		}
	}
	return false
}

// begun returns what the interrupted runs may have written; nil for a nil r.
func (r *resume) begun() *begun {
	if r == nil {
		return nil
	}
	b := &begun{entries: map[string][]Entry{}}
	for _, p := range r.plans {
		for _, e := range p.Entries {
			b.entries[e.Path] = append(b.entries[e.Path], e)
		}
	}
	return b
}

// readResume looks for the journal of an interrupted run; nil when there is
// none. It changes nothing.
func readResume(t *target) (*resume, error) {
	dir := filepath.Join(t.dir, JournalDir)
	j, err := journal.OpenReadOnly(dir)
	if errors.Is(err, journal.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, journalError("open journal", err)
	}
	r, done, err := readRecords(j)
	if err = errors.Join(err, j.Close()); err != nil {
		return nil, journalError("read journal", err)
	}
	return r.locateControl(t, done)
}

func journalError(op string, err error) error {
	return &Error{Op: op, Path: JournalDir, Err: errors.Join(ErrJournal, err),
		Advice: "the directory holds a rewind that was interrupted and cannot be continued by this program: use the version that began it, or take a new base backup"}
}

// records is what a journal is read by.
type records interface {
	Records(fn func(kind uint16, payload []byte) error) error
}

// readRecords collects the plans that were completely written.
func readRecords(j records) (r *resume, done bool, err error) {
	r = &resume{states: map[string]*preState{}}
	var open *Plan
	err = j.Records(func(kind uint16, payload []byte) error {
		switch kind {
		case recordPlan:
			open = new(Plan)
			if err := json.Unmarshal(payload, open); err != nil {
				return err
			}
			if open.Format != PlanFormat {
				return fmt.Errorf("%w: plan format %d, this program knows %d", journal.ErrNewerFormat, open.Format, PlanFormat)
			}
		case recordEntries:
			var es []journalledEntry
			if err := json.Unmarshal(payload, &es); err != nil {
				return err
			}
			if open == nil {
				return fmt.Errorf("%w: entries before a plan", journal.ErrDamaged)
			}
			for _, e := range es {
				open.Entries = append(open.Entries, e.entry())
			}
		case recordReady:
			if open == nil {
				return fmt.Errorf("%w: an end without a plan", journal.ErrDamaged)
			}
			r.plans, open = append(r.plans, open), nil
		case recordDone:
			done = true
			copy(r.published[:], payload)
		case recordStates:
			r.undoable = true
			return r.addStates(payload)
		case recordUndo:
			r.undoing = true
		case recordNoUndo:
			r.undoable = false // states still tell what is to be removed
		default:
			return fmt.Errorf("%w: record kind %d", journal.ErrNewerFormat, kind)
		}
		return nil
	})
	return r, done, err
}

// addStates reads a record of pre-states. The first one of a path counts.
func (r *resume) addStates(payload []byte) error {
	var states []preState
	if err := json.Unmarshal(payload, &states); err != nil {
		return err
	}
	for i := range states {
		s := &states[i]
		for _, p := range []string{s.Path, s.Saved} {
			if err := pg.SafePath(p); err != nil && p != "" {
				return fmt.Errorf("%w: %w", journal.ErrDamaged, err)
			}
		}
		if r.states[s.Path] == nil {
			r.states[s.Path] = s
		}
	}
	return nil
}

// locateControl finds out how far the interrupted run came, by where the
// control file is.
func (r *resume) locateControl(t *target, done bool) (*resume, error) {
	inPlace, err := t.exists(controlRel)
	if err != nil {
		return nil, &Error{Op: "look at", Path: controlRel, Err: err}
	}
	kept, err := t.exists(journalControl)
	if err != nil {
		return nil, &Error{Op: "look at", Path: journalControl, Err: err}
	}
	switch {
	case inPlace && r.undoing && !kept: // an undo ends with its move back
		r.undone = true
		return r, nil
	case inPlace && !done:
		return nil, nil // it had not moved yet: nothing was changed
	case inPlace:
		r.finished, r.undoable = true, r.undoable && kept
		return r, nil
	}
	if len(r.plans) == 0 {
		return nil, journalError("read journal", fmt.Errorf("%w: no plan in it, and no %s", journal.ErrDamaged, controlRel))
	}
	r.raw, err = t.readFile(journalControl, pgcontrol.FileSize)
	if err != nil {
		return nil, journalError("read the control file in the journal", err)
	}
	r.control, err = pgcontrol.Parse(r.raw)
	if err != nil {
		return nil, journalError("read the control file in the journal", classifyControl(err))
	}
	if want := r.first().SystemID; r.control.SystemIdentifier != want {
		return nil, journalError("read journal", fmt.Errorf("it is of cluster %s, the control file of %s", want, r.control.SystemIdentifier))
	}
	t.resume = r
	return r, nil
}

// undoBegun is what planning and applying end with in a directory that is being undone.
func (r *resume) undoBegun() error {
	if r == nil || !r.undoing || r.ended() {
		return nil
	}
	return &Error{Op: "continue", Path: JournalDir, Err: ErrUndoBegun, Advice: "failback-hook undo finishes it; then run this again"}
}

// ReadInterrupted tells whether a rewind of this data directory was begun and
// not finished; then it returns the control file that the target had before.
func ReadInterrupted(pgdata string) (*pgcontrol.Control, bool, error) {
	if _, err := os.Lstat(filepath.Join(pgdata, JournalDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	t, err := openTarget(pgdata)
	if err != nil {
		return nil, false, err
	}
	defer t.close()
	r, err := readResume(t)
	if err != nil || r == nil || r.ended() {
		return nil, false, err
	}
	return r.control, true, nil
}

// begun is what interrupted runs may have written, by path. What they wrote
// came from another moment of the source, or from another source: all of it is
// fetched again. A nil begun knows of nothing.
type begun struct{ entries map[string][]Entry }

// whole tells whether a run began to copy the file as a whole.
func (b *begun) whole(path string) bool {
	if b == nil {
		return false
	}
	for _, e := range b.entries[path] {
		if e.Action == ActionCopy {
			return true
		}
	}
	return false
}

// addBlocks adds the blocks that runs began to fetch into the file. A tail
// counts from where it began: of a longer file only the end may have been
// written so far, with a hole before it.
func (b *begun) addBlocks(path string, runs []BlockRun, blocks uint32) []BlockRun {
	if b == nil {
		return runs
	}
	for _, e := range b.entries[path] {
		runs = unionRuns(runs, e.Blocks, blocks)
		if e.Action == ActionTail {
			first := uint32(e.tailStart() / blockSize)
			runs = unionRuns(runs, []BlockRun{{First: pg.BlockNo(first), Count: blocks}}, blocks)
		}
	}
	return runs
}
