package rewind

import (
	"cmp"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// preflight predicts what would make the plan fail on this side: files that
// cannot be written, directories that cannot be changed, space that is not
// there, tablespaces that would land on somebody else's files. It changes
// nothing.
func preflight(t *target, p *Plan, undo bool) error {
	checked := map[string]bool{}
	for i := range p.Entries {
		if err := checkEntry(t, &p.Entries[i], p, checked); err != nil {
			return err
		}
	}
	dirs := []string{"", "global", "pg_wal"}
	for _, f := range p.WAL.SetAside {
		dirs = append(dirs, path.Dir(f))
	}
	for _, d := range dirs {
		if err := checkWritable(t, d, checked); err != nil {
			return err
		}
	}
	if err := checkRenames(t, p, undo); err != nil {
		return err
	}
	return checkSpace(t, p, undo)
}

func checkEntry(t *target, e *Entry, p *Plan, checked map[string]bool) error {
	switch e.Action {
	case ActionSymlink:
		if path.Dir(e.Path) == "pg_tblspc" {
			if err := checkNewTablespace(t, e, p); err != nil {
				return err
			}
		}
	case ActionCopy, ActionTail, ActionBlocks, ActionTruncate:
		if err := checkWritable(t, e.Path, checked); err != nil {
			return err
		}
	}
	dir := path.Dir(e.Path)
	if dir == "." {
		dir = ""
	}
	if ok, err := t.exists(dirOr(dir)); err != nil || !ok {
		return nil // made by this plan
	}
	return checkWritable(t, dir, checked)
}

func dirOr(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// checkWritable asks for the right to write; what is not there yet is fine.
func checkWritable(t *target, p string, checked map[string]bool) error {
	if checked[p] {
		return nil
	}
	checked[p] = true
	return checkAccess(cmp.Or(p, t.dir), t.realPath(p))
}

func checkAccess(p, realPath string) error {
	err := unix.Access(realPath, unix.W_OK)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &Error{Op: "check that it can be written", Path: p, Err: errors.Join(ErrNotWritable, err), Advice: adviceOwner}
}

// checkRenames refuses directories between which files will be renamed and that
// are on different file systems: one that is mounted on global, or inside pg_wal.
// (pg_wal itself may be anywhere, see walDir.)
func checkRenames(t *target, p *Plan, undo bool) error {
	pairs := map[string]string{"global": "."}
	for _, f := range p.WAL.SetAside {
		pairs[path.Dir(f)] = "pg_wal"
	}
	if undo {
		addKept(t, p, pairs)
	}
	for dir, with := range pairs {
		a, err := deviceOf(t.realPath(dir))
		if err != nil {
			return err
		}
		b, err := deviceOf(t.realPath(with))
		if err != nil {
			return err
		}
		if a != b {
			return &Error{Op: "check file systems", Path: dir, Err: fmt.Errorf("%w: it is on another file system than %s", ErrUnsupported, with),
				Advice: "files are moved between the two by renaming: unmount it, and move what is in it to the file system above"}
		}
	}
	return nil
}

func deviceOf(realPath string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(realPath, &st); err != nil {
		return 0, &Error{Op: "look at", Path: realPath, Err: err}
	}
	return st.Dev, nil
}

// addKept names the directories from which files are moved to where they are kept.
func addKept(t *target, p *Plan, pairs map[string]string) {
	for i := range p.Entries {
		e := &p.Entries[i]
		replaced := e.Action == ActionCopy && e.TargetSize > 0 || e.Action == ActionRemove
		if !replaced || e.Kind != KindFile {
			continue
		}
		m, _ := t.at(e.Path)
		pairs[path.Dir(e.Path)] = cmp.Or(m.prefix, ".")
	}
}
