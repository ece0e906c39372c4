package rewind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// Undone is what Undo did.
type Undone struct {
	// Restored files were moved back, Removed ones had been made by the runs.
	Restored int `json:"restored"`
	Removed  int `json:"removed"`
	// ImageBytes were written back into files that had been changed in place.
	ImageBytes int64 `json:"image_bytes"`
	// Finished: the rewind that was taken back had been finished.
	Finished bool `json:"finished"`
	// Warnings name what could not be made as it was, and does no harm.
	Warnings []string `json:"warnings,omitempty"`
}

// Undo gives the data directory back as it was before the first of the runs
// that the journal tells of: byte for byte, with the times of its files. It
// needs neither source nor network. It may be interrupted and called again;
// until it has ended no server can start on the directory.
//
// ErrNoUndo: there is no journal, or it belongs to a run with Options.NoUndo, or
// the server has been started on what the run had made.
func (e *Engine) Undo(ctx context.Context) (out *Undone, err error) {
	t, release, err := e.openExclusively()
	if err != nil {
		return nil, err
	}
	defer closing(&err, release)
	r, err := readResume(t)
	if err != nil {
		return nil, err
	}
	if err := mayUndo(t, r); err != nil {
		return nil, err
	}
	if err := refuseRunning(t.dir); err != nil {
		return nil, err
	}
	w := e.newWriter(t)
	w.continues = r.undoing
	u := &undoer{w: w, run: e.newRun(), resume: r, out: &Undone{Finished: r.finished}}
	if r.undone { // only the tidying up was interrupted
		return u.out, u.w.removeOwnFiles(r.states)
	}
	return u.out, u.undo(ctx)
}

// mayUndo refuses what cannot be taken back.
func mayUndo(t *target, r *resume) error {
	why, advice := "", ""
	switch {
	case r == nil:
		why = "no rewind of this directory has left a journal"
	case r.undone || r.undoable && !r.finished:
		return nil
	case r.undoable:
		started, err := t.startedSince(r)
		if err != nil || !started {
			return err
		}
		why = "the server has been started since the rewind ended"
	case r.finished:
		why = "the rewind has ended, and nothing of what was before is kept any more"
	default:
		why = "the rewind was begun without saving what it overwrites (--no-undo)"
		advice = "run failback-hook again: it finishes the work"
	}
	return &Error{Op: "undo", Path: t.dir, Err: fmt.Errorf("%w: %s", ErrNoUndo, why), Advice: advice}
}

// undoer carries one Undo call.
type undoer struct {
	w      *writer
	run    *run
	resume *resume
	out    *Undone
}

// undo works in an order in which it can be interrupted anywhere: the directory
// is latched before the first change, each change does nothing when it is made
// a second time, and pg_control comes last. What gives room comes before what
// takes some: the disk may be full, which may be why all this is taken back.
func (u *undoer) undo(ctx context.Context) error {
	u.run.begin(PhaseUndo, 0)
	if err := u.latch(); err != nil {
		return err
	}
	states := make([]*preState, 0, len(u.resume.states))
	for _, s := range u.resume.states {
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b *preState) int { return cmp.Compare(a.Path, b.Path) })
	for _, step := range []func(context.Context, []*preState) error{u.makeDirs, u.restoreFiles, u.trimFiles, u.removeNew, u.writeImages, u.setTimes} {
		if err := step(ctx, states); err != nil {
			return err
		}
	}
	u.run.begin(PhaseSync, 0)
	if err := u.w.sync(); err != nil {
		return err
	}
	if err := u.w.renameDurably(journalControl, controlRel); err != nil {
		return err
	}
	return u.w.removeOwnFiles(u.resume.states)
}

// latch notes that from here on the directory can only go back, and takes the
// new control file of a finished run away.
func (u *undoer) latch() (err error) {
	j, err := journal.Open(filepath.Join(u.w.dir, JournalDir))
	if err != nil {
		return u.w.fail("write journal", JournalDir, err)
	}
	defer closing(&err, j.Close)
	// Fetched, and of no more use. After a power cut it may not be there.
	if err := u.w.removeIfThere(stagedDir); err != nil {
		return err
	}
	if err := u.w.remove(reserve); err != nil {
		return err
	}
	if err := u.w.step("journal", JournalDir); err != nil {
		return err
	}
	if err := errors.Join(j.Append(recordUndo, nil), j.Sync()); err != nil {
		return u.w.fail("write journal", JournalDir, err)
	}
	if !u.resume.finished {
		return nil
	}
	if err := u.w.renameDurably(controlRel, newControl); err != nil {
		return err
	}
	return u.unlatchIfRunning()
}

// unlatchIfRunning is for a server that was started just before the latch fell.
func (u *undoer) unlatchIfRunning() error {
	err := refuseRunning(u.w.dir)
	if err == nil {
		return nil
	}
	return errors.Join(err, u.w.renameDurably(newControl, controlRel))
}

// makeDirs makes the directories and links that a run has removed, parents first.
func (u *undoer) makeDirs(_ context.Context, states []*preState) error {
	for _, s := range states {
		if s.Kind != KindDir && s.Kind != KindLink {
			continue
		}
		now, err := u.w.preStateOf(s.Path)
		if err != nil {
			return err
		}
		switch {
		case now.Kind != 0:
		case s.Kind == KindLink:
			err = u.w.symlink(s.Path, s.Link)
		default:
			if err = u.w.mkdir(s.Path); err == nil {
				err = u.w.chmod(s.Path, s.Mode)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restoreFiles moves back what was replaced or removed.
func (u *undoer) restoreFiles(ctx context.Context, states []*preState) error {
	for _, s := range states {
		if s.Kind != KindFile {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		saved, err := u.w.exists(s.Saved)
		if err != nil {
			return u.w.fail("look at", s.Saved, err)
		}
		if saved {
			if err := u.w.step("give back", s.Path); err != nil {
				return err
			}
			if err := u.w.move(s.Saved, s.Path); err != nil {
				return err
			}
			u.out.Restored++
			continue
		}
		if ok, err := u.w.exists(s.Path); err != nil || !ok {
			return &Error{Op: "give back", Path: s.Path, Err: errors.Join(ErrDamaged, errors.New("the file is neither in its place nor where it was kept"), err)}
		}
	}
	return nil
}

// writeImages writes the old blocks back. No block has two pre-images, so the
// order does not matter.
func (u *undoer) writeImages(ctx context.Context, _ []*preState) (err error) {
	j, err := journal.OpenReadOnly(filepath.Join(u.w.dir, undoDir))
	if err != nil {
		return journalError("open journal of pre-images", err)
	}
	defer closing(&err, j.Close)
	var file *os.File
	var open string
	defer func() {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	return eachImage(j, func(i image) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		s := u.resume.states[i.path]
		if s == nil || s.Kind != KindFile {
			return journalError("read journal of pre-images", fmt.Errorf("%w: a pre-image of %q, which was not there", journal.ErrDamaged, i.path))
		}
		if open != i.path {
			if file != nil {
				if err := file.Close(); err != nil {
					return u.w.fail("close file", open, err)
				}
				file = nil
			}
			f, err := u.w.modify(i.path)
			if err != nil {
				return err
			}
			file, open = f, i.path
		}
		return u.writeImage(file, i)
	})
}

func (u *undoer) writeImage(f *os.File, i image) error {
	if err := u.w.step("write", i.path); err != nil {
		return err
	}
	if _, err := f.WriteAt(i.data, i.offset); err != nil {
		return u.w.fail("write file", i.path, err)
	}
	u.out.ImageBytes += int64(len(i.data))
	return nil
}

// trimFiles cuts off what a run has added to files that stayed.
func (u *undoer) trimFiles(_ context.Context, states []*preState) error {
	for _, s := range states {
		if s.Kind != KindFile {
			continue
		}
		fi, err := u.w.lstat(s.Path)
		if err != nil {
			return u.w.fail("look at", s.Path, err)
		}
		if fi.Size() == s.Size {
			continue
		}
		if err := u.w.truncate(s.Path, s.Size); err != nil {
			return err
		}
	}
	return nil
}

// removeNew removes what runs have made, children first.
func (u *undoer) removeNew(_ context.Context, states []*preState) error {
	for _, s := range slices.Backward(states) {
		if s.Kind != 0 {
			continue
		}
		now, err := u.w.preStateOf(s.Path)
		if err != nil {
			return err
		}
		if now.Kind == 0 {
			continue
		}
		switch err := u.w.remove(s.Path); {
		case errors.Is(err, unix.ENOTEMPTY):
			u.warn(fmt.Sprintf("directory %q is kept: something was put into it meanwhile", s.Path))
		case err != nil:
			return err
		default:
			u.out.Removed++
		}
	}
	return u.removeOutside(states)
}

// removeOutside removes the directories that were made for tablespaces.
func (u *undoer) removeOutside(states []*preState) error {
	for _, s := range states {
		for _, dir := range slices.Backward(s.Outside) {
			if err := u.w.step("remove", dir); err != nil {
				return err
			}
			err := os.Remove(dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				u.warn(fmt.Sprintf("directory %q is kept: %v", dir, err))
			}
		}
	}
	return nil
}

// setTimes gives files that were changed in place their old times.
func (u *undoer) setTimes(_ context.Context, states []*preState) error {
	for _, s := range states {
		if s.Kind != KindFile {
			continue
		}
		fi, err := u.w.lstat(s.Path)
		if err != nil {
			return u.w.fail("look at", s.Path, err)
		}
		if fi.ModTime().Equal(s.Time) {
			continue
		}
		if err := u.w.setTime(s.Path, s.Time); err != nil {
			return err
		}
	}
	return nil
}

func (u *undoer) warn(text string) {
	u.out.Warnings = append(u.out.Warnings, text)
	u.run.warn(text)
}
