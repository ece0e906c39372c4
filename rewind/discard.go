package rewind

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/journal"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// Discard removes what a finished run with Options.KeepUndo has left to be able
// to take everything back, after the WAL that only this node had has gone where
// Options.Salvage says; nil where it goes nowhere. The server may be running.
// Without such a run it does nothing; with one that is not finished it returns
// ErrUnfinished.
func (e *Engine) Discard(ctx context.Context) (s *Salvaged, err error) {
	t, release, err := e.openExclusively()
	if err != nil {
		return nil, err
	}
	defer closing(&err, release)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	r, err := readResume(t)
	if err != nil || r == nil {
		return nil, err
	}
	if !r.ended() {
		return nil, &Error{Op: "discard", Path: JournalDir, Err: ErrUnfinished, Advice: "run failback-hook again to finish it, or failback-hook undo"}
	}
	return e.newWriter(t).discard(r, e.Options.Salvage)
}

// tidyFinished is Discard for a run that is about to begin.
func (a *applier) tidyFinished() error {
	r, err := readResume(a.w.target)
	if err != nil || r == nil || !r.ended() {
		return err
	}
	_, err = a.w.discard(r, a.engine.Options.Salvage)
	return err
}

func (w *writer) discard(r *resume, to Salvage) (s *Salvaged, err error) {
	if err := w.giveUpUndo(r); err != nil {
		return nil, err
	}
	if r.finished && len(r.plans) > 0 {
		if s, err = w.salvage(r.plans, to); err != nil {
			return nil, err
		}
	}
	return s, w.removeOwnFiles(r.states)
}

// giveUpUndo notes that a finished run cannot be taken back any more, before
// the first of what that takes goes: an undo that finds a part of it would make
// a good directory one that cannot start.
func (w *writer) giveUpUndo(r *resume) (err error) {
	if !r.finished || !r.undoable {
		return nil
	}
	if err := w.remove(reserve); err != nil { // room for the note
		return err
	}
	if err := w.step("journal", JournalDir); err != nil {
		return err
	}
	j, err := journal.Open(filepath.Join(w.dir, JournalDir))
	if err != nil {
		return w.fail("write journal", JournalDir, err)
	}
	defer closing(&err, j.Close)
	if err := errors.Join(j.Append(recordNoUndo, nil), j.Sync()); err != nil {
		return w.fail("write journal", JournalDir, err)
	}
	return nil
}

// removeOwnFiles removes all of the engine's own files. The journal goes last:
// it is what tells whose the others are.
func (w *writer) removeOwnFiles(states map[string]*preState) error {
	if err := w.removeTree(walDir); err != nil {
		return err
	}
	if err := w.removeSaved(states); err != nil {
		return err
	}
	return w.removeTree(JournalDir)
}

// removeSaved removes what was saved for undoing, those WAL files apart that a
// run which continues would read.
func (w *writer) removeSaved(states map[string]*preState) error {
	for _, m := range w.mounts {
		if strings.HasPrefix(m.prefix, "pg_tblspc/") {
			if err := w.removeIfThere(m.prefix + "/" + spaceUndoDir); err != nil {
				return err
			}
		}
	}
	for _, s := range states {
		if err := w.removeDropped(s); err != nil {
			return err
		}
	}
	return w.removeIfThere(undoDir)
}

func (w *writer) removeIfThere(dir string) error {
	if ok, err := w.exists(dir); err != nil || !ok {
		return err
	}
	return w.removeTree(dir)
}

// removeDropped removes what was saved in a tablespace whose link is gone.
func (w *writer) removeDropped(s *preState) error {
	if s.Kind != KindLink || !filepath.IsAbs(s.Link) || filepath.Dir(s.Path) != "pg_tblspc" {
		return nil
	}
	now, err := w.preStateOf(s.Path)
	if err != nil || now.Kind != 0 {
		return err
	}
	if err := w.step("remove tree", s.Link); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.Link, spaceUndoDir)); err != nil {
		return w.fail("remove directory", s.Link, err)
	}
	if err := journal.SyncDir(s.Link); err != nil && !isMissing(err) {
		return w.fail("sync directory", s.Link, err)
	}
	return nil
}

// controlHash tells control files apart: a server changes its own the moment it
// is started.
type controlHash [sha256.Size]byte

func hashControl(b []byte) controlHash { return sha256.Sum256(b) }

// startedSince tells whether the control file is another one than that with
// which the run ended.
func (t *target) startedSince(r *resume) (bool, error) {
	b, err := t.readFile(controlRel, pgcontrol.FileSize)
	if err != nil {
		return false, &Error{Op: "read control file", Path: controlRel, Err: errors.Join(ErrNotDataDir, err)}
	}
	return hashControl(b) != r.published, nil
}
