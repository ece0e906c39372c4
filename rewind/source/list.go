package source

import (
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"strings"

	"github.com/failback-hook/failback-hook/rewind"
)

// maxBatchDirs is how many directories one statement lists.
const maxBatchDirs = 1000

const opList = "list files of the source"

// List calls fn for every entry of the data directory, level by level and in
// the order of names; see rewind.Source and the package documentation.
// Permission bits are not known. Tablespaces made while the listing runs are
// left out: WAL makes them again. It holds one connection.
func (s *SQL) List(ctx context.Context, fn func(rewind.File) error) error {
	l := &lister{fn: fn, foreign: s.foreignDirs, level: []string{""}}
	return s.pool.do(ctx, opList, &l.delivered, func(ctx context.Context, ses *session) error {
		return describe(opList, "", l.walk(ctx, ses))
	})
}

// lister is a listing under way. It can be taken up on another connection.
type lister struct {
	fn        func(rewind.File) error
	foreign   bool
	level     []string // directories of the level being listed
	next      []string // the ones found in them
	at        int      // the directory of level that is being listed
	after     string   // its last entry that has been dealt with
	delivered int
	locations map[string]string // targets of tablespaces by oid
}

func (l *lister) walk(ctx context.Context, ses *session) error {
	if l.locations == nil {
		locations, err := tablespaceLocations(ctx, ses)
		if err != nil {
			return err
		}
		l.locations = locations
	}
	for len(l.level) > 0 {
		for l.at < len(l.level) {
			err := l.listBatch(ctx, ses)
			if isFileError(err) {
				err = l.listCarefully(ctx, ses)
			}
			if err != nil {
				return err
			}
		}
		l.level, l.next, l.at, l.after = l.next, nil, 0, ""
	}
	return nil
}

// entryPath is the SQL for the path of entry e.name of directory n.name.
const entryPath = "CASE n.name WHEN '' THEN e.name ELSE n.name || '/' || e.name END"

// holdsCluster is the SQL that tells whether a directory holds a cluster: a
// way back to PGDATA itself, or a data directory of somebody else's.
const holdsCluster = "CASE WHEN s.isdir THEN (pg_stat_file(%s || '/global/pg_control', true)).size IS NOT NULL END"

// listBatch lists as many directories as one statement takes. pg_ls_dir and the
// sorting end before the first entry of a directory comes out, and entries
// come in a known order, so that at and after tell what is still to be done.
func (l *lister) listBatch(ctx context.Context, ses *session) error {
	run := namesRun{plain: ses.plain(l.level[l.at])}
	for _, dir := range l.level[l.at:] {
		if len(run.names) == maxBatchDirs || ses.plain(dir) != run.plain {
			break
		}
		run.names = append(run.names, dir)
	}
	statement := "SELECT r.ord, e.name, s.size, s.isdir, " + l.guard(entryPath) +
		" FROM unnest($1) WITH ORDINALITY AS r(path, ord) " + run.join() + `
		CROSS JOIN LATERAL (
			SELECT d AS name FROM pg_ls_dir(CASE n.name WHEN '' THEN '.' ELSE n.name END, true, false) AS d
			WHERE r.ord > 1 OR textsend(d) > $2 ORDER BY textsend(d)
		) AS e
		CROSS JOIN LATERAL pg_stat_file(` + entryPath + ", true) AS s"
	base := l.at
	err := ses.query(ctx, statement, []param{run.param(), byteaParam(l.after)}, func(values [][]byte) error {
		if len(values[0]) != 8 {
			return fmt.Errorf("number of a directory: %w", rewind.ErrDamaged)
		}
		at := base + int(binary.BigEndian.Uint64(values[0])) - 1
		if at < l.at || at >= base+len(run.names) {
			return fmt.Errorf("entries out of order: %w", rewind.ErrDamaged)
		}
		if at > l.at {
			l.at, l.after = at, ""
		}
		return l.entry(string(values[1]), values[2], values[3], values[4])
	})
	if err == nil {
		l.at, l.after = base+len(run.names), ""
	}
	return err
}

// guard is the SQL that keeps a listing of foreign directories out of clusters.
func (l *lister) guard(entry string) string {
	if !l.foreign {
		return "false"
	}
	return fmt.Sprintf(holdsCluster, entry)
}

// entry hands over one entry of the current directory. size is NULL when it is
// gone, or is a link to nowhere.
func (l *lister) entry(name string, size, isDir, cluster []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	dir := l.level[l.at]
	f := rewind.File{Path: join(dir, name), Kind: rewind.KindFile}
	below := len(isDir) == 1 && isDir[0] == 1
	if below {
		f.Kind = rewind.KindDir
	} else if len(size) == 8 {
		f.Size = int64(binary.BigEndian.Uint64(size))
	}
	gone := size == nil
	if oid, ok := tablespace(f.Path); ok && (below || gone) {
		target, known := l.locations[oid]
		if !known {
			l.after = name
			return nil
		}
		if strings.HasPrefix(target, "/") {
			f.Kind, f.Link, gone = rewind.KindLink, target, false
		}
	}
	if gone {
		l.after = name
		return nil
	}
	holds := len(cluster) == 1 && cluster[0] == 1
	if below && descend(f.Path, l.foreign) && !(holds && !own(f.Path)) {
		l.next = append(l.next, f.Path)
	}
	return l.deliver(f, name)
}

func (l *lister) deliver(f rewind.File, name string) error {
	if err := l.fn(f); err != nil {
		return &callbackError{err}
	}
	l.delivered++
	l.after = name
	return nil
}

// tablespaceLocations asks where the links in pg_tblspc point to. In-place
// tablespaces (15+) give a relative path.
func tablespaceLocations(ctx context.Context, ses *session) (map[string]string, error) {
	names, err := ses.rows(ctx, "SELECT d FROM pg_ls_dir('pg_tblspc', true, false) AS d")
	if err != nil {
		return nil, err
	}
	locations := make(map[string]string)
	for _, row := range names {
		oid := row[0]
		if !digits(oid) {
			continue
		}
		location, err := ses.row(ctx, "SELECT pg_tablespace_location($1::text::oid)", textParam(oid))
		switch {
		case isFileError(err):
			// Dropped a moment ago, or no link where only links can be.
		case err != nil:
			return nil, err
		default:
			locations[oid] = path.Clean(location[0])
		}
	}
	return locations, nil
}
