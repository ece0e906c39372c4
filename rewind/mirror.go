package rewind

import (
	"path"
	"strings"
)

// foreign decides, under Options.Mirror, about a file outside PostgreSQL's own
// directories: it becomes what it is on the source. Links of the target stay
// where pg_rewind would end with an error: what a configuration or log
// directory is a link to lies outside PGDATA and is the node's own. Without
// Options.Mirror it decides about what an interrupted run with it had begun to
// overwrite: half of a postgresql.conf is nobody's.
func (d *decider) foreign(j *joined) (verdict, error) {
	if d.belowClosed(j.path) {
		return verdict{kept: j.dst != nil}, nil
	}
	switch {
	case j.dst != nil && j.src != nil && (j.dst.Kind == KindLink || j.src.Kind == KindLink), j.dst != nil && j.dst.Kind == KindOther:
		if d.closed == nil {
			d.closed = map[string]bool{}
		}
		d.closed[j.path] = true
		return verdict{kept: true}, nil
	case j.src == nil:
		return d.remove(j, "only on the target"), nil
	case j.src.Kind == KindOther, isSocket(j.path):
		return verdict{}, nil
	case j.dst == nil:
		return d.create(j), nil
	case j.src.Kind != j.dst.Kind:
		return verdict{}, j.misfit()
	case j.src.Kind != KindFile || path.Base(j.path) == "PG_VERSION":
		return verdict{}, nil
	}
	return d.whole(j, "no WAL tells what changed in it"), nil
}

// isSocket knows a server's socket, and the lock file beside it, by name: over
// SQL a socket looks like an empty file.
func isSocket(p string) bool { return strings.HasPrefix(path.Base(p), ".s.PGSQL.") }

// belowClosed tells whether p lies below a link of the target's, or below a
// directory that cannot be read. Paths are decided about in their order, so
// that those are known by then.
func (d *decider) belowClosed(p string) bool {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if d.closed[dir] {
			return true
		}
	}
	return false
}

// excludedByName is how pg_rewind looks for what is not to be carried over: by
// the last part of the name, wherever it occurs (excludeFiles in
// src/bin/pg_rewind/filemap.c), and for temporary files by any part.
func excludedByName(p string) bool {
	switch base := path.Base(p); base {
	case "backup_label", "tablespace_map", "backup_manifest", "postmaster.pid", "postmaster.opts",
		"postgresql.auto.conf.tmp", "current_logfiles.tmp":
		return true
	default:
		return strings.HasPrefix(base, "pg_internal.init") || strings.Contains(p, "/pgsql_tmp")
	}
}
