package rewind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Where the links of PGDATA lead. On a machine with several clusters, or with a
// copy of one, a link may lead into a directory that another server works on:
// of the source itself, when a standby has replayed CREATE TABLESPACE there, or
// when PGDATA was copied with its links. Nothing may be written through those.

// checkPlaces refuses links of the target that lead to where something else is.
func (pl *planner) checkPlaces(ctx context.Context) error {
	neighbour, err := pl.neighbour(ctx)
	if err != nil {
		return err
	}
	for _, m := range pl.t.mounts {
		if m.prefix == "" {
			continue
		}
		if neighbour != "" && sameFile(m.dir, filepath.Join(neighbour, m.prefix)) {
			return misplaced(m.prefix, m.dir, "the source has its own there")
		}
		if err := pl.t.checkPlace(m.prefix, m.dir); err != nil {
			return err
		}
	}
	return nil
}

func misplaced(link, to, what string) error {
	return &Error{Op: "follow link", Path: link, Err: fmt.Errorf("%w: it leads to %q, and %s", ErrIncompatible, to, what),
		Advice: "nothing can be written there without harm: give this node a directory of its own, or take a new base backup"}
}

// neighbour is the source's data directory where it is on this machine; empty
// where it is elsewhere. A server tells by its postmaster.pid: one that is here
// too, with the same process, start and port, is the same file.
func (pl *planner) neighbour(ctx context.Context) (string, error) {
	const name = "postmaster.pid"
	if local, ok := pl.engine.Source.(interface{ LocalDir() string }); ok {
		return local.LocalDir(), nil
	}
	if !pl.state.Running {
		return "", nil
	}
	theirs, err := pl.engine.Source.ReadFile(ctx, name)
	if isMissing(err) {
		return "", nil
	}
	if err != nil {
		return "", &Error{Op: "ask the source where it is", Path: name, Err: err}
	}
	lines := strings.SplitN(string(theirs), "\n", 5)
	if len(lines) < 5 || !filepath.IsAbs(lines[1]) || sameFile(lines[1], pl.t.dir) { // no server runs on ours
		return "", nil
	}
	ours, err := os.ReadFile(filepath.Join(lines[1], name))
	if err != nil || !strings.HasPrefix(string(ours), strings.Join(lines[:4], "\n")+"\n") {
		return "", nil // not here, or not for us to see
	}
	return lines[1], nil
}

// checkPlace refuses a directory that lies in another cluster's PGDATA, or among
// PostgreSQL's own files in ours. Elsewhere in ours it is as good as outside,
// which PostgreSQL only warns of, unless those files become the source's.
func (t *target) checkPlace(link, dir string) error {
	real, err := filepath.EvalSymlinks(nearest(dir))
	if err != nil {
		return &Error{Op: "follow link", Path: link, Err: err}
	}
	for above := real; ; above = filepath.Dir(above) {
		switch {
		case sameFile(above, t.dir):
			inside, err := filepath.Rel(above, real)
			if err != nil {
				return &Error{Op: "follow link", Path: link, Err: err}
			}
			if inside == "." || pg.InDataDirs(inside) || ours(inside) || t.foreign {
				return misplaced(link, dir, "that is in this data directory itself")
			}
			return nil
		case isDataDir(above):
			return misplaced(link, dir, fmt.Sprintf("that is in the data directory %s", above))
		case above == filepath.Dir(above):
			return nil
		}
	}
}

// isDataDir knows a data directory, one that is being rewound too. What cannot be
// looked at, as a parent of ours for which we have no right, is none.
func isDataDir(dir string) bool {
	for _, name := range []string{"PG_VERSION", "global", "pg_tblspc"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// nearest is the directory itself, or the first one above it that is there.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// checkNewTablespace predicts whether a tablespace can be made where the source
// has it: on one host that would be the source's own directory.
func checkNewTablespace(t *target, e *Entry, p *Plan) error {
	const op = "plan a tablespace"
	if !filepath.IsAbs(e.Link) {
		return &Error{Op: op, Path: e.Path, Err: fmt.Errorf("%w: the source's link %q is not absolute", ErrIncompatible, e.Link)}
	}
	place := nearest(e.Link)
	if fi, err := os.Stat(place); err != nil || !fi.IsDir() {
		return &Error{Op: op, Path: e.Path, Err: errors.Join(fmt.Errorf("%w: %q, where the source has it, cannot be made here: %s is no directory", ErrIncompatible, e.Link, place), err)}
	}
	if err := checkAccess(place, place); err != nil {
		return err
	}
	if err := t.checkPlace(e.Path, e.Link); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(e.Link, pg.TablespaceDir(p.Major))); !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: op, Path: e.Path, Err: errors.Join(fmt.Errorf("%w: %q, where the source has it, is in use on this host", ErrIncompatible, e.Link), err),
			Advice: "drop the tablespace, or give the source's another place, or make the link in pg_tblspc by hand to an empty directory"}
	}
	return nil
}

// checkTablespaces refuses a source one of whose tablespaces is not there, its
// file system not mounted perhaps: all that the target has of it would go. A
// tablespace that is being dropped looks the same for a moment.
func (m *fileMap) checkTablespaces() error {
	for p, j := range m.files {
		if path.Dir(p) != "pg_tblspc" || j.src == nil {
			continue
		}
		dir := m.files[p+"/"+pg.TablespaceDir(m.major)]
		if dir != nil && dir.dst != nil && dir.src == nil {
			return &Error{Op: "list the source's files", Path: dir.path, Err: fmt.Errorf("%w: it is here and not at the source, although the tablespace is", ErrSourceNotReady),
				Advice: "look whether the file system of this tablespace is mounted at the source, and run again"}
		}
	}
	return nil
}
