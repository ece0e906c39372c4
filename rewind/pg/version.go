package pg

import (
	"bytes"
	"fmt"
	"strconv"
)

// Major is a major version of PostgreSQL: 15 for 15.4. Zero means unknown.
type Major int

// The majors that are known here, oldest and newest.
const (
	OldestMajor Major = 13
	NewestMajor Major = 18
)

// release ties a major to the two numbers by which its data is known:
// PG_CONTROL_VERSION in catalog/pg_control.h and CATALOG_VERSION_NO in
// catalog/catversion.h.
type release struct {
	major            Major
	control, catalog uint32
}

func releases() [6]release {
	return [6]release{
		{13, 1300, 202007201},
		{14, 1300, 202107181},
		{15, 1300, 202209061},
		{16, 1300, 202307071},
		{17, 1700, 202406281},
		{18, 1800, 202506291},
	}
}

// MajorOf tells which major wrote a control file with these two versions. Only
// the released pairs are accepted: a beta's catalog differs in ways that
// nobody has looked at here.
func MajorOf(controlVersion, catalogVersion uint32) (Major, error) {
	for _, r := range releases() {
		if r.control == controlVersion && r.catalog == catalogVersion {
			return r.major, nil
		}
	}
	return 0, fmt.Errorf("find PostgreSQL version: control file version %d with catalog version %d is none of PostgreSQL %d to %d",
		controlVersion, catalogVersion, OldestMajor, NewestMajor)
}

// CatalogVersion is the catalog version of the major's releases, and zero for
// a major that is not known.
func (m Major) CatalogVersion() uint32 {
	for _, r := range releases() {
		if r.major == m {
			return r.catalog
		}
	}
	return 0
}

// TablespaceDir is the directory that a major makes inside a tablespace:
// "PG_15_202209061" (TABLESPACE_VERSION_DIRECTORY in common/relpath.h).
func TablespaceDir(m Major) string {
	return "PG_" + strconv.Itoa(int(m)) + "_" + strconv.FormatUint(uint64(m.CatalogVersion()), 10)
}

// ParseVersionFile reads the content of a PG_VERSION file. A version that is
// not known here, "9.6" or "19", is an error that names it.
func ParseVersionFile(content []byte) (Major, error) {
	line, rest, _ := bytes.Cut(content, []byte("\n"))
	if len(line) > 16 || len(rest) > 0 {
		return 0, fmt.Errorf("parse PG_VERSION: want one line with a version, got %d bytes", len(content))
	}
	for _, r := range releases() {
		if string(line) == strconv.Itoa(int(r.major)) {
			return r.major, nil
		}
	}
	return 0, fmt.Errorf("parse PG_VERSION: version %q is none of %d to %d", line, OldestMajor, NewestMajor)
}
