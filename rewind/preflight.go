package rewind

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// preflight predicts what would make the plan fail on this side: files that
// cannot be written, directories that cannot be changed, space that is not
// there, tablespaces that would land on somebody else's files. It changes
// nothing.
func preflight(t *target, p *Plan) error {
	checked := map[string]bool{}
	for i := range p.Entries {
		if err := checkEntry(t, &p.Entries[i], p, checked); err != nil {
			return err
		}
	}
	for _, d := range []string{"", "global", "pg_wal"} {
		if err := checkWritable(t, d, checked); err != nil {
			return err
		}
	}
	return checkSpace(t, p)
}

func checkEntry(t *target, e *Entry, p *Plan, checked map[string]bool) error {
	switch e.Action {
	case ActionSymlink:
		if path.Dir(e.Path) == "pg_tblspc" {
			return checkLink(e, p)
		}
	case ActionCopy, ActionMkdir:
		if e.TargetSize == 0 {
			break // new: only its directory matters
		}
		fallthrough
	case ActionTail, ActionBlocks, ActionTruncate:
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

func checkWritable(t *target, p string, checked map[string]bool) error {
	if checked[p] {
		return nil
	}
	checked[p] = true
	err := unix.Access(t.realPath(p), unix.W_OK)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &Error{Op: "check that it can be written", Path: p, Err: errors.Join(ErrNotWritable, err),
		Advice: "give the file or directory to the owner of the data directory, with write permission, and try again"}
}

// checkLink refuses to make a tablespace where one already is: on one host
// that would be the source's own directory.
func checkLink(e *Entry, p *Plan) error {
	if !filepath.IsAbs(e.Link) {
		return &Error{Op: "plan a tablespace", Path: e.Path, Err: fmt.Errorf("%w: the source's link %q is not absolute", ErrIncompatible, e.Link)}
	}
	occupied, err := filepath.Glob(filepath.Join(escapeGlob(e.Link), "PG_*"))
	if err != nil || len(occupied) > 0 {
		return &Error{Op: "plan a tablespace", Path: e.Path, Err: fmt.Errorf("%w: %q, where the source has it, is in use on this host", ErrIncompatible, e.Link),
			Advice: "drop the tablespace, or give the source's another place, or make the link in pg_tblspc by hand to an empty directory"}
	}
	return nil
}

func escapeGlob(s string) string {
	var out []rune
	for _, r := range s {
		switch r {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// spaceReserve is left free on every file system: the server needs some to start.
const spaceReserve = 64 << 20

// checkSpace compares what each file system has to take with what it has.
// Space that truncating and removing gives back comes too late to count.
func checkSpace(t *target, p *Plan) error {
	need := map[string]int64{}
	for i := range p.Entries {
		e := &p.Entries[i]
		if grow := e.SourceSize - e.TargetSize; grow > 0 && e.Kind == KindFile {
			m, _ := t.at(e.Path)
			need[m.dir] += grow
		}
	}
	m, _ := t.at(walDir)
	need[m.dir] += p.Totals.WALBytes + int64(len(p.WAL.Restore))*int64(p.WALSegSize)
	devices := map[[2]int32]*fileSystem{}
	for dir, n := range need {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return &Error{Op: "ask for free space", Path: dir, Err: err}
		}
		d := devices[st.Fsid.Val]
		if d == nil {
			d = &fileSystem{dir: dir, free: int64(st.Bavail) * st.Bsize}
			devices[st.Fsid.Val] = d
		}
		d.need += n
	}
	for _, d := range devices {
		if d.need > 0 && d.need+spaceReserve > d.free {
			return &Error{Op: "check free space", Path: d.dir, Err: fmt.Errorf("%w: %d bytes are needed and %d are free", ErrNoSpace, d.need+spaceReserve, d.free),
				Advice: "free some space on this file system and try again"}
		}
	}
	return nil
}

type fileSystem struct {
	dir        string
	need, free int64
}
