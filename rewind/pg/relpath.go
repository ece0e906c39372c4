package pg

import (
	"fmt"
	"strconv"
	"strings"
)

// RelFileLocator names the storage of a relation (RelFileLocator in
// storage/relfilelocator.h, RelFileNode before 16).
type RelFileLocator struct {
	// Spc is the tablespace, DefaultTablespace for most relations.
	Spc Oid `json:"spc"`
	// DB is the database, 0 for relations shared by all of them.
	DB Oid `json:"db"`
	// Rel is the number in the file name. It is not the oid of the relation.
	Rel Oid `json:"rel"`
}

// String prints the locator as pg_waldump does: "1663/5/16384".
func (l RelFileLocator) String() string { return fmt.Sprintf("%d/%d/%d", l.Spc, l.DB, l.Rel) }

// The tablespaces that initdb makes (catalog/pg_tablespace.dat): base/ and
// global/.
const (
	DefaultTablespace Oid = 1663
	GlobalTablespace  Oid = 1664
)

// ForkNo tells the files of one relation apart (ForkNumber in common/relpath.h).
type ForkNo uint8

// The forks: the data itself, the free space map, the visibility map, and the
// empty image of an unlogged relation.
const (
	MainFork ForkNo = iota
	FSMFork
	VMFork
	InitFork
)

// Valid tells whether f is one of the forks above.
func (f ForkNo) Valid() bool { return f <= InitFork }

// String gives the fork's name in file names; "main" for the main fork, which
// has none there.
func (f ForkNo) String() string {
	switch f {
	case MainFork:
		return "main"
	case FSMFork:
		return "fsm"
	case VMFork:
		return "vm"
	case InitFork:
		return "init"
	}
	return fmt.Sprintf("fork(%d)", uint8(f))
}

// RelFile is what the path of a relation's file says.
type RelFile struct {
	RelFileLocator
	Fork ForkNo
	// Segment numbers the files of a fork; each but the last is RELSEG_SIZE
	// blocks long, usually 131072 of 8 kB.
	Segment uint32
	// TempOwner is the backend whose temporary relation this is, and -1 for
	// relations that are not temporary.
	TempOwner int
}

// DatabaseDir is the directory with a database's files in a tablespace, relative
// to PGDATA: "base/5" (GetDatabasePath in common/relpath.c).
func DatabaseDir(spc, db Oid, m Major) string {
	switch spc {
	case GlobalTablespace:
		return "global"
	case DefaultTablespace:
		return "base/" + spell(db)
	}
	return "pg_tblspc/" + spell(spc) + "/" + TablespaceDir(m) + "/" + spell(db)
}

// ParseDatabaseDir reads the path of a database's directory, as DatabaseDir
// spells it.
func ParseDatabaseDir(path string, m Major) (spc, db Oid, ok bool) {
	f, name, ok := parseDatabaseDir(path + "/")
	if !ok || name != "" || f.DB == 0 || DatabaseDir(f.Spc, f.DB, m) != path {
		return 0, 0, false
	}
	return f.Spc, f.DB, true
}

// RelPath is the file, relative to PGDATA, that holds a segment of a relation's
// fork (GetRelationPath in common/relpath.c; alike in 13 to 18).
func RelPath(loc RelFileLocator, fork ForkNo, segno uint32, m Major) string {
	return relPath(RelFile{RelFileLocator: loc, Fork: fork, Segment: segno, TempOwner: -1}, m)
}

func relPath(f RelFile, m Major) string {
	var b strings.Builder
	b.WriteString(DatabaseDir(f.Spc, f.DB, m))
	b.WriteByte('/')
	if f.TempOwner >= 0 {
		b.WriteString("t" + strconv.Itoa(f.TempOwner) + "_")
	}
	b.WriteString(spell(f.Rel))
	if f.Fork != MainFork {
		b.WriteString("_" + f.Fork.String())
	}
	if f.Segment != 0 {
		b.WriteString("." + spell(f.Segment))
	}
	return b.String()
}

// ParseRelPath reads the path, relative to PGDATA, of a relation's file. Only
// the spelling that PostgreSQL itself uses is recognised: the path that results
// from what was read must be the one given, so that "base/5/016384",
// "base/5/16384.0" or another major's directory in a tablespace are not
// relations.
func ParseRelPath(path string, m Major) (RelFile, bool) {
	f, name, ok := parseDatabaseDir(path)
	if !ok || !parseRelName(name, &f) {
		return RelFile{}, false
	}
	if f.Rel == 0 || (f.DB == 0) != (f.Spc == GlobalTablespace) || f.Spc == GlobalTablespace && f.TempOwner >= 0 {
		return RelFile{}, false
	}
	if relPath(f, m) != path {
		return RelFile{}, false
	}
	return f, true
}

// parseDatabaseDir reads tablespace and database; name is the rest of the path.
func parseDatabaseDir(path string) (f RelFile, name string, ok bool) {
	f.TempOwner = -1
	top, rest, _ := strings.Cut(path, "/")
	switch top {
	case "global":
		f.Spc = GlobalTablespace
		return f, rest, true
	case "base":
		f.Spc = DefaultTablespace
	case "pg_tblspc":
		spc, below, _ := strings.Cut(rest, "/")
		_, below, _ = strings.Cut(below, "/") // the version is compared at the end
		if f.Spc, ok = parseOid(spc); !ok {
			return f, "", false
		}
		rest = below
	default:
		return f, "", false
	}
	db, name, _ := strings.Cut(rest, "/")
	f.DB, ok = parseOid(db)
	return f, name, ok
}

// parseRelName reads "[t<backend>_]<number>[_<fork>][.<segment>]".
func parseRelName(name string, f *RelFile) (ok bool) {
	if rest, temp := strings.CutPrefix(name, "t"); temp {
		owner, rel, cut := strings.Cut(rest, "_")
		n, err := strconv.ParseUint(owner, 10, 31)
		if !cut || err != nil {
			return false
		}
		f.TempOwner, name = int(n), rel
	}
	name, segment, segmented := strings.Cut(name, ".")
	if segmented {
		n, good := parseOid(segment)
		if !good {
			return false
		}
		f.Segment = uint32(n)
	}
	number, fork, forked := strings.Cut(name, "_")
	if forked {
		switch fork {
		case "fsm":
			f.Fork = FSMFork
		case "vm":
			f.Fork = VMFork
		case "init":
			f.Fork = InitFork
		default:
			return false
		}
	}
	f.Rel, ok = parseOid(number)
	return ok
}

func parseOid(s string) (Oid, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return Oid(n), err == nil
}

func spell[T ~uint32](n T) string { return strconv.FormatUint(uint64(n), 10) }
