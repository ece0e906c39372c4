package rewind

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// target is the data directory that is rewound, for reading. Paths are those
// of File. One os.Root per mount (PGDATA, a linked pg_wal, each tablespace)
// keeps every access inside: a path that the source made up cannot leave them.
type target struct {
	dir    string
	mode   fs.FileMode // permission bits of PGDATA itself
	mounts []mount     // longest prefix first
	// foreign: list goes into directories that are not PostgreSQL's own, too.
	foreign bool
	// archive is where WAL comes from that is not here; nil for nowhere.
	archive *archive
	// resume is what an interrupted run left; nil for nothing, or not yet read.
	resume *resume
}

// mount is a directory outside PGDATA that a link in PGDATA stands for.
type mount struct {
	prefix string // "pg_wal", "pg_tblspc/16390", "" for PGDATA
	dir    string // where it really is
	root   *os.Root
}

func openTarget(dir string) (*target, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{Op: "open data directory", Path: dir, Err: errors.Join(ErrNotDataDir, err)}
	}
	t := &target{dir: dir, mounts: []mount{{dir: dir, root: root}}}
	fi, err := root.Stat(".")
	if err != nil {
		return nil, errors.Join(&Error{Op: "read data directory", Path: dir, Err: err}, t.close())
	}
	t.mode = fi.Mode().Perm()
	if err := t.mountLinks(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// mountLinks opens what the links for pg_wal and the tablespaces point to.
func (t *target) mountLinks() error {
	links := []string{"pg_wal"}
	spaces, err := t.readDir("pg_tblspc")
	if err != nil {
		return err
	}
	for _, s := range spaces {
		links = append(links, "pg_tblspc/"+s.Name())
	}
	for _, l := range links {
		if err := t.mountLink(l); err != nil {
			return err
		}
	}
	sort.SliceStable(t.mounts, func(i, j int) bool { return len(t.mounts[i].prefix) > len(t.mounts[j].prefix) })
	return nil
}

func (t *target) mountLink(link string) error {
	fi, err := t.rootOfPGData().Lstat(link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Error{Op: "look at", Path: link, Err: err}
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	to, err := t.rootOfPGData().Readlink(link)
	if err != nil {
		return &Error{Op: "read link", Path: link, Err: err}
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(t.dir, path.Dir(link), to)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return &Error{Op: "open what the link points to", Path: link, Err: errors.Join(ErrNotDataDir, err),
			Advice: "mount what belongs there; or, if it is a tablespace that was dropped, remove the link"}
	}
	t.mounts = append(t.mounts, mount{prefix: link, dir: to, root: root})
	return nil
}

// rootOfPGData is the mount without a prefix: the last one, or the only one.
func (t *target) rootOfPGData() *os.Root {
	for _, m := range t.mounts {
		if m.prefix == "" {
			return m.root
		}
	}
	return nil
}

func (t *target) close() error {
	var errs []error
	for _, m := range t.mounts {
		errs = append(errs, m.root.Close())
	}
	errs = append(errs, t.archive.close())
	return errors.Join(errs...)
}

// at finds the mount that holds p and p's name in it.
func (t *target) at(p string) (mount, string) {
	for _, m := range t.mounts {
		if m.prefix == "" {
			return m, p
		}
		if p == m.prefix {
			return m, "."
		}
		if rest, ok := strings.CutPrefix(p, m.prefix+"/"); ok {
			return m, rest
		}
	}
	return mount{}, p
}

// open opens a file or directory for reading, and waits for nobody: a pipe that
// lies where a file is looked for must not hang the work.
func (t *target) open(p string) (*os.File, error) {
	m, name := t.at(p)
	return m.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// openFile opens a regular file for reading.
func (t *target) openFile(p string) (*os.File, error) {
	f, err := t.open(p)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no regular file", ErrNotDataDir, p)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (t *target) lstat(p string) (fs.FileInfo, error) {
	m, name := t.at(p)
	return m.root.Lstat(name)
}

func (t *target) exists(p string) (bool, error) {
	_, err := t.lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// isMissing is true for a file that is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// readFile reads a small file of at most limit bytes.
func (t *target) readFile(p string, limit int64) (b []byte, err error) {
	f, err := t.openFile(p)
	if err != nil {
		return nil, err
	}
	defer closing(&err, f.Close)
	return readAll(f, p, limit)
}

func readAll(f io.Reader, p string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("read %s: more than the %d bytes that such a file can have", p, limit)
	}
	return b, err
}

// realPath is where p lies on disk, for system calls that need a path.
func (t *target) realPath(p string) string {
	m, name := t.at(p)
	return filepath.Join(m.dir, filepath.FromSlash(name))
}

// list calls fn for everything in the directory, parents first. Directories
// that are not PostgreSQL's own are named but not entered unless t.foreign is
// set: what is in them is none of our business. Entries that vanish meanwhile are left out.
func (t *target) list(m pg.Major, fn func(File) error) error { return t.listDir("", m, fn) }

func (t *target) listDir(dir string, m pg.Major, fn func(File) error) error {
	entries, err := t.readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return unreadable("look at", p, err)
		}
		f, err := t.describe(p, fi)
		if err != nil {
			return err
		}
		if t.closed(f) {
			f.Kind = KindOther
		}
		if err := fn(f); err != nil {
			return err
		}
		if t.entered(f, m) {
			if err := t.listDir(p, m, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDir lists a directory in the order of names; nothing when it is not there.
// Not by fs.ReadDir, which refuses names that are not UTF-8.
func (t *target) readDir(dir string) (entries []fs.DirEntry, err error) {
	if dir == "" {
		dir = "."
	}
	f, err := t.open(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != "." {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable("list directory", dir, err)
	}
	defer closing(&err, f.Close)
	if entries, err = f.ReadDir(-1); err != nil {
		return nil, unreadable("list directory", dir, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// unreadable says which file of the target cannot be looked at. What may not be
// read may not be replaced either.
func unreadable(op, p string, err error) error {
	e := &Error{Op: op, Path: p, Err: err}
	if errors.Is(err, fs.ErrPermission) {
		e.Err = errors.Join(ErrNotWritable, err)
		e.Advice = adviceOwner
	}
	return e
}

// adviceOwner is for what belongs to somebody else.
const adviceOwner = "give the file or directory to the owner of the data directory, with write permission, and try again"

// names are the names in a directory; none when it is not there.
func (t *target) names(dir string) (map[string]bool, error) {
	entries, err := t.readDir(dir)
	out := make(map[string]bool, len(entries))
	for _, e := range entries {
		out[e.Name()] = true
	}
	return out, err
}

func (t *target) describe(p string, fi fs.FileInfo) (File, error) {
	f := File{Path: p, Mode: fi.Mode().Perm()}
	switch {
	case fi.Mode().IsRegular():
		f.Kind, f.Size = KindFile, fi.Size()
	case fi.IsDir():
		f.Kind = KindDir
	case fi.Mode()&fs.ModeSymlink != 0 && p == "pg_wal":
		f.Kind = KindDir
	case fi.Mode()&fs.ModeSymlink != 0:
		f.Kind = KindLink
		m, name := t.at(path.Dir(p))
		to, err := m.root.Readlink(path.Join(name, path.Base(p)))
		if err != nil {
			return f, &Error{Op: "read link", Path: p, Err: err}
		}
		f.Link = to
	default:
		f.Kind = KindOther
	}
	return f, nil
}

// closed tells whether f is a directory of somebody else's that cannot be read:
// a file system's lost+found, for one.
func (t *target) closed(f File) bool {
	return f.Kind == KindDir && t.foreign && !pg.InDataDirs(f.Path) && unix.Access(t.realPath(f.Path), unix.R_OK|unix.X_OK) != nil
}

// entered tells whether list goes into f. In pg_wal only two directories are
// PostgreSQL's: what lies in others may look like WAL, and is somebody's copy.
func (t *target) entered(f File, m pg.Major) bool {
	switch {
	case f.Kind == KindLink:
		return path.Dir(f.Path) == "pg_tblspc"
	case f.Kind != KindDir || pg.Guest(f.Path, m) || f.Path == JournalDir:
		return false
	case path.Dir(f.Path) == "pg_wal":
		return f.Path == "pg_wal/archive_status" || f.Path == "pg_wal/summaries"
	}
	return pg.InDataDirs(f.Path) || t.foreign
}
