package rewind

import (
	"errors"
	"io/fs"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func (w *writer) syncDir(p string) error {
	f, err := w.open(p)
	if err != nil {
		return w.fail("open directory", p, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return w.fail("sync directory", p, err)
	}
	return nil
}

// manyFiles is from how many touched files on one syncfs for each file system
// costs less than a sync for each file.
const manyFiles = 512

// sync brings everything that was touched to the disk. A run that was killed has
// touched files as well, and need not have synced them: what it had moved, cut
// off or removed is found done, is not done again, and may be undone by a power cut.
func (w *writer) sync() error {
	if w.noSync {
		clear(w.files)
		clear(w.dirs)
		return nil
	}
	if w.continues || w.syncMethod.wholeFileSystems(len(w.files)+len(w.dirs)) {
		return w.syncMounts()
	}
	var g errgroup.Group
	g.SetLimit(localWorkers())
	for p := range w.files {
		g.Go(func() error { return w.syncFile(p) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for p := range w.dirs {
		g.Go(func() error { return w.syncDir(p) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	clear(w.files)
	clear(w.dirs)
	return nil
}

func (w *writer) syncFile(p string) error {
	f, err := w.open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed, or moved, since
	}
	if err != nil {
		return w.fail("open file", p, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return w.fail("sync file", p, err)
	}
	return nil
}

func (w *writer) syncMounts() error {
	for _, m := range w.mounts {
		d, err := m.root.Open(".")
		if err != nil {
			return w.fail("open directory", m.prefix, err)
		}
		if err := errors.Join(unix.Syncfs(int(d.Fd())), d.Close()); err != nil {
			return w.fail("sync file system", m.prefix, err)
		}
	}
	clear(w.files)
	clear(w.dirs)
	return nil
}
