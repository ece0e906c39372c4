package rewind

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"unicode/utf8"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// Bounds of one journal record: entries, and runs of blocks in them. A single
// entry, a segment of which every other block changed, has 65536 runs at most.
const (
	entriesPerRecord = 2048
	runsPerRecord    = 1 << 17
)

// latch writes the plan to the journal and moves pg_control there. When it
// returns, no server can start on the directory until finish has put the new
// one in place.
func (a *applier) latch() (err error) {
	dir := filepath.Join(a.w.dir, JournalDir)
	if a.resume != nil {
		a.journal, err = journal.Open(dir)
	} else {
		// What lies there, if anything, is of a run that never came to its latch.
		if err := a.w.removeOwnFiles(nil); err != nil {
			return err
		}
		a.journal, err = journal.Create(dir, a.w.dirMode)
	}
	if err != nil {
		return a.w.fail("write journal", JournalDir, err)
	}
	if err := a.openUndo(); err != nil {
		return a.w.fail("write journal", JournalDir, err)
	}
	if err := a.writePlan(); err != nil {
		return a.w.fail("write journal", JournalDir, err)
	}
	for _, d := range []string{walDir, asideDir, stagedDir} {
		if err := a.w.mkdir(d); err != nil {
			return err
		}
	}
	if a.resume != nil {
		return nil
	}
	if err := a.w.renameDurably(controlRel, journalControl); err != nil {
		return err
	}
	return a.unlatchIfRunning()
}

// neverLatched removes what a latch that did not fall has left: the directory is
// as it was, and should look so.
func (a *applier) neverLatched() error {
	if ok, err := a.w.exists(controlRel); a.resume != nil || !ok || err != nil {
		return err
	}
	return errors.Join(a.closeJournal(), a.w.removeOwnFiles(nil))
}

// unlatchIfRunning looks once more for a server, now that none can start any
// more: one that was started since the last look has read pg_control already,
// and is there to be seen. It keeps its directory.
func (a *applier) unlatchIfRunning() error {
	err := refuseRunning(a.w.dir)
	if err == nil {
		return nil
	}
	back := a.w.renameDurably(journalControl, controlRel)
	if back == nil {
		back = a.w.removeOwnFiles(nil)
	}
	return errors.Join(err, back)
}

func (a *applier) writePlan() error {
	head := *a.p
	head.Entries = nil
	if err := a.record(recordPlan, head); err != nil {
		return err
	}
	for rest := a.p.Entries; len(rest) > 0; {
		n := recordSize(rest)
		if err := a.record(recordEntries, journalled(rest[:n])); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := a.remember(a.p.touchedPaths()); err != nil {
		return err
	}
	if err := a.record(recordReady, nil); err != nil {
		return err
	}
	return a.journal.Sync()
}

// journalledEntry is an entry as the journal has it: JSON has no strings that are
// not UTF-8, and would give back another name than it was given.
type journalledEntry struct {
	Entry
	// Name is the path where it is not UTF-8.
	Name []byte `json:"name,omitempty"`
}

func journalled(es []Entry) []journalledEntry {
	out := make([]journalledEntry, len(es))
	for i, e := range es {
		out[i].Entry = e
		if !utf8.ValidString(e.Path) {
			out[i].Name = []byte(e.Path)
		}
	}
	return out
}

func (j journalledEntry) entry() Entry {
	if j.Name != nil {
		j.Path = string(j.Name)
	}
	return j.Entry
}

// openUndo prepares for saving what the run will destroy. A run that is told not
// to gives up what the ones before it have saved: the room may be needed.
func (a *applier) openUndo() (err error) {
	no := a.engine.Options.NoUndo
	switch {
	case a.resume == nil && !no:
		if a.w.undo, err = createUndoLog(a.w); err == nil {
			err = a.w.publish(reserve, make([]byte, reserveSize))
		}
	case a.resume != nil && a.resume.undoable && !no:
		a.w.undo, err = openUndoLog(a.w, a.resume)
	case a.resume != nil && a.resume.undoable:
		err = errors.Join(a.record(recordNoUndo, nil), a.journal.Sync())
		if err == nil {
			err = a.w.removeSaved(a.resume.states)
		}
	}
	return err
}

// remember writes the pre-states of paths to the journal, unless it has them.
func (a *applier) remember(paths []string) error {
	if a.w.undo == nil {
		return nil
	}
	states, err := a.w.undo.remember(a.w.target, paths, a.p.spaces())
	if err != nil {
		return err
	}
	for first := true; first || len(states) > 0; first = false {
		n := min(len(states), entriesPerRecord)
		if err := a.record(recordStates, states[:n]); err != nil {
			return err
		}
		states = states[n:]
	}
	return nil
}

// closeJournal closes what latch has opened.
func (a *applier) closeJournal() (err error) {
	if a.journal != nil {
		err = a.journal.Close()
		a.journal = nil
	}
	u := a.w.undo
	a.w.undo = nil
	return errors.Join(err, u.close())
}

// recordSize is how many of the entries go into one record, one at least.
func recordSize(es []Entry) int {
	runs := 0
	for n := range es {
		if runs += len(es[n].Blocks); n == entriesPerRecord || n > 0 && runs > runsPerRecord {
			return n
		}
	}
	return len(es)
}

func (a *applier) record(kind uint16, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.appendRecord(kind, b)
}

func (a *applier) appendRecord(kind uint16, payload []byte) error {
	if err := a.w.step("journal", JournalDir); err != nil {
		return err
	}
	return a.journal.Append(kind, payload)
}
