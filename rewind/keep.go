package rewind

import (
	"errors"
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

// image saves what lies in the ranges and has not been saved yet. When it
// returns that is on disk, and the ranges may be overwritten.
func (w *writer) image(ranges []Range) error {
	if w.undo == nil {
		return nil
	}
	var images []image
	for _, r := range ranges {
		if ours(r.Path) {
			continue
		}
		some, err := w.imagesOf(r)
		if err != nil {
			return err
		}
		images = append(images, some...)
	}
	if len(images) == 0 {
		return nil
	}
	if err := w.step("image", images[0].path); err != nil {
		return err
	}
	if err := w.undo.append(images); err != nil {
		return w.fail("save what will be overwritten in", images[0].path, err)
	}
	return nil
}

func (w *writer) imagesOf(r Range) ([]image, error) {
	s, err := w.announced(r.Path)
	if err != nil || s.Kind != KindFile {
		return nil, err
	}
	if moved, err := w.exists(s.Saved); err != nil || moved {
		return nil, err // as a whole: what lies there now is a run's
	}
	ranges := w.undo.missing(s, r.Offset, r.Length)
	if len(ranges) == 0 {
		return nil, nil
	}
	f, err := w.open(r.Path)
	if err != nil {
		return nil, w.fail("open file", r.Path, err)
	}
	images, err := readImages(f, ranges)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, w.fail("read file", r.Path, err)
	}
	return images, nil
}

// imageBehind saves a file's end, which is to be cut off at size.
func (w *writer) imageBehind(p string, size int64) error {
	if w.undo == nil {
		return nil
	}
	fi, err := w.lstat(p)
	if err != nil {
		return w.fail("look at", p, err)
	}
	for off := size / blockSize * blockSize; off < fi.Size(); off += imageBatch {
		if err := w.image([]Range{{Path: p, Offset: off, Length: min(imageBatch, fi.Size()-off)}}); err != nil {
			return err
		}
	}
	return nil
}

// imageBatch bounds the memory that pre-images of a long tail take.
const imageBatch = 8 << 20
