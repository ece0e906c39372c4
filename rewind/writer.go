package rewind

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// writer is the target for writing: every change to the data directory passes
// here, and it remembers what has to be synced.
type writer struct {
	*target
	dirMode, fileMode fs.FileMode
	// before is asked before each change; an error stands in for a kill there.
	// Nil but in tests.
	before func(op, path string) error

	// noSync: sync leaves it to the operating system.
	noSync bool
	// syncMethod is Options.SyncMethod.
	syncMethod SyncMethod
	// continues: what an interrupted run has changed is on the disk or not, and
	// nobody knows which files those are.
	continues bool
	// undo takes what a change destroys; nil in a run that keeps nothing.
	undo *undoLog

	mu    sync.Mutex
	files map[string]struct{}
	dirs  map[string]struct{}
}

// newWriter takes the permissions from PGDATA itself, as PostgreSQL does:
// group access or none.
func newWriter(t *target) *writer {
	w := &writer{target: t, dirMode: 0o700, fileMode: 0o600, files: map[string]struct{}{}, dirs: map[string]struct{}{}}
	if t.mode&0o050 == 0o050 {
		w.dirMode, w.fileMode = 0o750, 0o640
	}
	return w
}

// step is called before each change.
func (w *writer) step(op, p string) error {
	if w.before == nil {
		return nil
	}
	return w.before(op, p)
}

func (w *writer) touchFile(p string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[p] = struct{}{}
}

// touchDir remembers that an entry of the directory that holds p changed.
func (w *writer) touchDir(p string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirs[path.Dir(p)] = struct{}{}
}

func (w *writer) fail(op, p string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		err = errors.Join(ErrNoSpace, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		err = errors.Join(ErrNotWritable, err)
	}
	return &Error{Op: op, Path: p, Err: err}
}

// mkdir makes a directory; one that is there is fine.
func (w *writer) mkdir(p string) error {
	if err := w.step("mkdir", p); err != nil {
		return err
	}
	if _, err := w.announced(p); err != nil {
		return err
	}
	m, name := w.at(p)
	err := m.root.Mkdir(name, w.dirMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = m.root.Chmod(name, w.dirMode) // whatever the umask says
	}
	if err != nil {
		return w.fail("make directory", p, err)
	}
	w.touchDir(p)
	return nil
}

// symlink makes a link. For that of a tablespace the directory that it points
// to is made too, and from then on the link is a mount.
func (w *writer) symlink(p, to string) error {
	if err := w.step("symlink", p); err != nil {
		return err
	}
	if _, err := w.announced(p); err != nil {
		return err
	}
	space := path.Dir(p) == "pg_tblspc"
	if space {
		if err := makeOutside(to, w.dirMode); err != nil {
			return w.fail("make tablespace directory", to, err)
		}
	}
	m, name := w.at(p)
	if err := m.root.Symlink(to, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return w.fail("make link", p, err)
	}
	w.touchDir(p)
	if !space {
		return nil
	}
	if err := w.mountLink(p); err != nil {
		return err
	}
	sort.SliceStable(w.mounts, func(i, j int) bool { return len(w.mounts[i].prefix) > len(w.mounts[j].prefix) })
	return nil
}

// makeOutside makes a directory outside PGDATA with all above it that are
// missing, and has each on disk: no later sync reaches them.
func makeOutside(dir string, mode fs.FileMode) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeOutside(parent, mode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return journal.SyncDir(parent)
}

// create opens a file for writing and empties it.
func (w *writer) create(p string) (*os.File, error) {
	if err := w.step("create", p); err != nil {
		return nil, err
	}
	if err := w.keep(p); err != nil {
		return nil, err
	}
	m, name := w.at(p)
	f, err := m.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, w.fileMode)
	if err == nil {
		if err = f.Chmod(w.fileMode); err != nil { // whatever the umask says
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, w.fail("create file", p, err)
	}
	w.touchFile(p)
	w.touchDir(p)
	return f, nil
}

// makeEmpty makes a file without content.
func (w *writer) makeEmpty(p string) error {
	f, err := w.create(p)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return w.fail("create file", p, err)
	}
	return nil
}

// modify opens a file for writing as it is.
func (w *writer) modify(p string) (*os.File, error) {
	m, name := w.at(p)
	f, err := m.root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return nil, w.fail("open file for writing", p, err)
	}
	w.touchFile(p)
	return f, nil
}

func (w *writer) truncate(p string, size int64) error {
	if err := w.step("truncate", p); err != nil {
		return err
	}
	if err := w.imageBehind(p, size); err != nil {
		return err
	}
	f, err := w.modify(p)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return w.fail("truncate file", p, err)
	}
	return nil
}

// remove removes a file, a link or an empty directory; one that is gone is fine.
func (w *writer) remove(p string) error {
	if err := w.step("remove", p); err != nil {
		return err
	}
	if err := w.keep(p); err != nil {
		return err
	}
	m, name := w.at(p)
	if p == m.prefix { // the link of a tablespace lies in the mount above
		m, name = w.mounts[len(w.mounts)-1], p
	}
	err := m.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return w.fail("remove", p, err)
	}
	w.mu.Lock()
	delete(w.files, p)
	delete(w.dirs, p)
	w.mu.Unlock()
	w.touchDir(p)
	return nil
}

// removeTree removes a directory of our own with all that is in it.
func (w *writer) removeTree(p string) error {
	if err := w.step("remove tree", p); err != nil {
		return err
	}
	m, name := w.at(p)
	if err := m.root.RemoveAll(name); err != nil {
		return w.fail("remove directory", p, err)
	}
	return w.syncDir(path.Dir(p))
}

// rename moves a file inside one mount.
func (w *writer) rename(from, to string) error {
	if err := w.step("rename", from); err != nil {
		return err
	}
	if _, err := w.announced(from); err != nil {
		return err
	}
	if err := w.keep(to); err != nil {
		return err
	}
	if err := w.move(from, to); err != nil {
		return err
	}
	w.touchFile(to)
	return nil
}

// move is rename without a look at what it does: the content of the file need
// not reach the disk, only its names.
func (w *writer) move(from, to string) error {
	m, old := w.at(from)
	n, dst := w.at(to)
	if m.dir != n.dir {
		return w.fail("rename", from, fmt.Errorf("%s is on another file system", to))
	}
	if err := m.root.Rename(old, dst); err != nil {
		return w.fail("rename", from, err)
	}
	w.mu.Lock()
	delete(w.files, from)
	w.mu.Unlock()
	w.touchDir(from)
	w.touchDir(to)
	return nil
}

// renameDurably moves a file and has both directories on disk before it returns.
func (w *writer) renameDurably(from, to string) error {
	if err := w.rename(from, to); err != nil {
		return err
	}
	return errors.Join(w.syncDir(path.Dir(to)), w.syncDir(path.Dir(from)))
}

// publish writes a small file so that it is either not there or whole, also
// after a power cut. What that may leave behind half written lies among the
// engine's own files, and goes with them: an undo would not know of it elsewhere.
func (w *writer) publish(p string, data []byte) error {
	if err := w.keepCopy(p); err != nil {
		return err
	}
	if err := w.step("publish", p); err != nil {
		return err
	}
	tmp := p + ".tmp"
	if ok, err := w.exists(JournalDir); err != nil {
		return w.fail("look at", JournalDir, err)
	} else if ok {
		tmp = unpublished
	}
	if err := journal.WriteFileBy(w.realPath(tmp), w.realPath(p), data, w.fileMode); err != nil {
		return w.fail("write file", p, err)
	}
	return nil
}

// chmod sets the permissions of a directory.
func (w *writer) chmod(p string, mode fs.FileMode) error {
	m, name := w.at(p)
	if err := m.root.Chmod(name, mode); err != nil {
		return w.fail("change mode of", p, err)
	}
	return nil
}

// setTime sets the time of the last modification, and leaves that of the last access.
func (w *writer) setTime(p string, at time.Time) error {
	if err := w.step("set time", p); err != nil {
		return err
	}
	m, name := w.at(p)
	if err := m.root.Chtimes(name, time.Time{}, at); err != nil {
		return w.fail("set the time of", p, err)
	}
	w.touchFile(p)
	return nil
}

// wholeFileSystems tells which way to sync so many files and directories.
func (s SyncMethod) wholeFileSystems(touched int) bool {
	switch s {
	case SyncFiles:
		return false
	case SyncFileSystems:
		return true
	}
	return touched > manyFiles
}

// copyPrefix makes to a copy of the first n bytes of from, and zeros up to size.
func (w *writer) copyPrefix(from, to string, n, size int64) error {
	src, err := w.open(from)
	if err != nil {
		return w.fail("open file", from, err)
	}
	return errors.Join(w.copyFrom(src, to, n, size), src.Close())
}

// copyFrom writes the first n bytes of src to a new file, and zeros up to size.
func (w *writer) copyFrom(src io.Reader, to string, n, size int64) error {
	dst, err := w.create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyN(dst, src, n)
	if err == nil {
		err = dst.Truncate(size)
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return w.fail("copy file", to, err)
	}
	return nil
}
