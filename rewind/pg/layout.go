package pg

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// InDataDirs tells whether a path, relative to PGDATA, belongs to PostgreSQL's
// own data: whether it is, or lies in, one of the directories that initdb makes
// (13 to 18: the list subdirs in src/bin/initdb/initdb.c), or is PG_VERSION.
// Everything else in PGDATA, configuration and logs above all, is the node's.
func InDataDirs(p string) bool {
	top, _, _ := strings.Cut(p, "/")
	switch top {
	case "base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify",
		"pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc",
		"pg_twophase", "pg_wal", "pg_xact":
		return true
	}
	return p == "PG_VERSION"
}

// Excluded tells whether a path, relative to PGDATA, is of no use to another
// node and wrong on this one after a rewind: it is never copied, and removed
// from the target. Directories that must exist but whose content means nothing
// to another server, as pg_replslot, are not excluded; what is in them is.
//
// The list is pg_rewind's (excludeFiles and excludeDirContents in
// src/bin/pg_rewind/filemap.c), with one difference: pg_rewind looks at the last
// part of a path wherever it occurs, and removes a user's own
// "conf.d/backup_label" as well. Here the names count only where PostgreSQL
// writes them.
func Excluded(p string) bool {
	dir, below, inDir := strings.Cut(p, "/")
	if !inDir {
		switch p {
		case "backup_label", "tablespace_map", "backup_manifest", "postmaster.pid", "postmaster.opts",
			"postgresql.auto.conf.tmp", "current_logfiles.tmp":
			return true
		}
		return false
	}
	switch dir {
	case "pg_stat_tmp", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans":
		return true
	case "global", "base", "pg_tblspc":
		return derived(below)
	}
	return false
}

// Guest tells whether a path in one of PostgreSQL's own directories is none of
// PostgreSQL's for all that, and so the node's own: what a file system keeps in
// its root where one is mounted there, and what lies in a tablespace's location
// beside the directory of this major, be it another cluster's or the one from
// before an upgrade.
func Guest(p string, m Major) bool {
	parts := strings.SplitN(p, "/", 4)
	switch {
	case len(parts) < 2 || !InDataDirs(p):
		return false
	case parts[1] == "lost+found":
		return true
	}
	return len(parts) > 2 && parts[0] == "pg_tblspc" && parts[2] != TablespaceDir(m)
}

// derived tells whether some part of a path is a temporary file or the relation
// cache's: PG_TEMP_FILES_DIR and PG_TEMP_FILE_PREFIX in common/file_utils.h,
// RELCACHE_INIT_FILENAME in utils/relcache.h.
func derived(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, "pgsql_tmp") || strings.HasPrefix(part, "pg_internal.init") {
			return true
		}
	}
	return false
}

// MaxPath is the longest path that SafePath accepts, in bytes.
const MaxPath = 4096

// SafePath refuses what is not the plain relative path of something inside a
// directory: absolute paths, "..", empty or superfluous parts, zero bytes, and
// what is longer than MaxPath. Names that come from another server must pass it
// before they become paths on this one (CVE-2026-6475 is what happens to
// pg_rewind without).
func SafePath(p string) error {
	switch {
	case p == "":
		return errors.New("check path: it is empty")
	case len(p) > MaxPath:
		return fmt.Errorf("check path %.64q…: %d bytes, more than %d", p, len(p), MaxPath)
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("check path %q: it holds a zero byte", p)
	case path.IsAbs(p):
		return fmt.Errorf("check path %q: it is absolute", p)
	case p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("check path %q: it is nothing inside the directory", p)
	case path.Clean(p) != p:
		return fmt.Errorf("check path %q: want it written as %q", p, path.Clean(p))
	}
	return nil
}
