package rewind

import (
	"path"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// announced returns the pre-state of a path that is about to change; nil where
// none is needed: for the engine's own files, and in a run that keeps none.
func (w *writer) announced(p string) (*preState, error) {
	if w.undo == nil || ours(p) || p == controlRel {
		return nil, nil
	}
	s := w.undo.states[p]
	if s == nil {
		return nil, noPreState(p)
	}
	return s, nil
}

// keep moves the file at p to where undoing will look for it, the first time
// that p is to be replaced or removed.
func (w *writer) keep(p string) error {
	s, err := w.announced(p)
	if err != nil || s == nil || s.Kind != KindFile {
		return err
	}
	if saved, err := w.exists(s.Saved); err != nil || saved {
		return err // what lies at p now is a run's
	}
	if err := w.makeUndoDir(s.Saved); err != nil {
		return err
	}
	if err := w.step("keep", p); err != nil {
		return err
	}
	if err := w.move(p, s.Saved); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// keepCopy is keep for a small file that must not be missing meanwhile: a later
// run reads it.
func (w *writer) keepCopy(p string) error {
	s, err := w.announced(p)
	if err != nil || s == nil || s.Kind != KindFile {
		return err
	}
	if saved, err := w.exists(s.Saved); err != nil || saved {
		return err
	}
	if err := w.step("keep", p); err != nil {
		return err
	}
	b, err := w.readFile(p, maxAutoConf)
	if err == nil {
		err = journal.WriteFile(w.realPath(s.Saved), b, s.Mode)
	}
	if err != nil {
		return w.fail("keep a copy of", p, err)
	}
	return nil
}

// makeUndoDir makes the directory in a tablespace that files are kept in, when
// the first one comes; PGDATA's is made with the journal.
func (w *writer) makeUndoDir(saved string) error {
	dir := path.Dir(saved)
	if dir == undoDir || dir == asideDir {
		return nil
	}
	if ok, err := w.exists(dir); err != nil || ok {
		return err
	}
	return w.mkdir(dir)
}
