package rewind

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// spaceReserve is left free on every file system: the server needs some to start.
const spaceReserve = 64 << 20

// Bounds from above of what the journal takes for an entry and for a run of blocks.
const (
	journalEntry = 512
	journalRun   = 40
)

// fileSystem is what one file system has to take.
type fileSystem struct {
	dir        string // one of its directories
	need, free int64
}

// checkSpace compares what each file system has to take with what it has.
// Space that truncating and removing gives back comes too late to count.
func checkSpace(t *target, p *Plan, undo bool) error {
	devices := map[uint64]*fileSystem{}
	for dir, n := range needed(t, p, undo) {
		if err := addNeed(devices, dir, n); err != nil {
			return err
		}
	}
	full := make([]*fileSystem, 0, len(devices))
	for _, d := range devices {
		if d.need > 0 && d.need+spaceReserve > d.free {
			full = append(full, d)
		}
	}
	if len(full) == 0 {
		return nil
	}
	worst := slices.MaxFunc(full, func(a, b *fileSystem) int { return cmp.Compare(a.need-a.free, b.need-b.free) })
	return &Error{Op: "check free space", Path: worst.dir, Err: fmt.Errorf("%w: %d bytes are needed and %d are free", ErrNoSpace, worst.need+spaceReserve, worst.free),
		Advice: noSpaceAdvice(undo, p.Totals.UndoBytes)}
}

// savedImages is how much an interrupted run has saved already.
func (t *target) savedImages() int64 {
	fi, err := t.lstat(undoDir + "/journal")
	if err != nil {
		return 0
	}
	return fi.Size()
}

func noSpaceAdvice(undo bool, bytes int64) string {
	advice := "free some space on this file system and try again"
	if undo && bytes > 0 {
		advice += fmt.Sprintf("; %d bytes of it are for taking the work back after an error, which --no-undo goes without", bytes)
	}
	return advice
}

// needed is how much comes into which directory: of PGDATA, of a link, or of a
// tablespace that will be made, for which the directory counts that is there
// already above its place.
func needed(t *target, p *Plan, undo bool) map[string]int64 {
	need := map[string]int64{}
	places := map[string]string{} // of tablespaces to be made, by their path in PGDATA
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.Action == ActionSymlink && path.Dir(e.Path) == "pg_tblspc" {
			places[e.Path] = nearest(e.Link)
		}
		need[t.dir] += journalEntry + int64(len(e.Path)) + journalRun*int64(len(e.Blocks))
		grow := e.SourceSize - e.TargetSize
		if undo && e.Action == ActionCopy {
			grow = e.SourceSize // what is replaced stays until the end
		}
		if grow > 0 && e.Kind == KindFile {
			dir, made := places[tablespaceOf(e.Path)]
			if !made {
				m, _ := t.at(e.Path)
				dir = m.dir
			}
			need[dir] += grow
		}
	}
	if undo {
		need[t.dir] += max(0, p.Totals.UndoBytes-t.savedImages())
	}
	m, _ := t.at(walDir)
	need[m.dir] += p.Totals.WALBytes + int64(len(p.WAL.Restore))*int64(p.WALSegSize)
	return need
}

// tablespaceOf is the "pg_tblspc/16390" that a path begins with; empty for none.
func tablespaceOf(p string) string {
	parts := strings.SplitN(p, "/", 3)
	if len(parts) < 2 || parts[0] != "pg_tblspc" {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

func addNeed(devices map[uint64]*fileSystem, dir string, n int64) error {
	device, err := deviceOf(dir)
	if err != nil {
		return err
	}
	d := devices[device]
	if d == nil {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return &Error{Op: "ask for free space", Path: dir, Err: err}
		}
		d = &fileSystem{dir: dir, free: int64(st.Bavail) * st.Bsize}
		devices[device] = d
	}
	d.need += n
	return nil
}
