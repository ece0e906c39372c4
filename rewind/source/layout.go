package source

import (
	"slices"
	"strings"
)

// foreignDepth bounds the levels below a directory that is not PostgreSQL's
// own: a link that leads in a circle ends there.
const foreignDepth = 16

// ownDirs are the directories that PostgreSQL makes in PGDATA (13 to 18: the
// list subdirs in src/bin/initdb/initdb.c).
func ownDirs() []string {
	return []string{
		"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot",
		"pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact",
	}
}

// own tells whether a path lies in one of PostgreSQL's own directories.
func own(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return slices.Contains(ownDirs(), top)
}

// needed tells whether PostgreSQL cannot do without a directory: the top level,
// the directories of databases and tablespaces, and those of pg_multixact. A
// copy without one of them would not be a copy.
func needed(dir string) bool {
	if dir == "" {
		return true
	}
	parts := strings.Split(dir, "/")
	switch {
	case !own(dir):
		return false
	case len(parts) == 1, parts[0] == "pg_multixact":
		return true
	case parts[0] == "base":
		return len(parts) == 2 && digits(parts[1])
	case parts[0] == "pg_tblspc" && digits(parts[1]):
		return len(parts) == 2 ||
			strings.HasPrefix(parts[2], "PG_") && (len(parts) == 3 || len(parts) == 4 && digits(parts[3]))
	}
	return false
}

// descend tells whether to list what lies in a directory.
func descend(dir string, foreign bool) bool {
	return own(dir) || foreign && strings.Count(dir, "/") < foreignDepth
}

// tablespace gives the oid in "pg_tblspc/<oid>".
func tablespace(path string) (oid string, ok bool) {
	oid, ok = strings.CutPrefix(path, "pg_tblspc/")
	return oid, ok && digits(oid)
}

func digits(s string) bool {
	return s != "" && len(s) <= 10 && strings.Trim(s, "0123456789") == ""
}

// join appends a name to a directory; the top level is "".
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
