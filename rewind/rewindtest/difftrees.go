package rewindtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Difference is one way in which two data directories are not the same.
type Difference struct {
	// Path relative to PGDATA.
	Path string
	// Block of a relation's file, counted from the file's beginning; -1 when the
	// difference is not one of a block.
	Block int64
	// What differs, for people.
	What string
}

// String prints one line.
func (d Difference) String() string {
	if d.Block < 0 {
		return d.Path + ": " + d.What
	}
	return fmt.Sprintf("%s block %d: %s", d.Path, d.Block, d.What)
}

// DiffTrees compares two data directories, those that linked tablespaces and a
// linked pg_wal point to included. Paths for which ignore is true are left out
// with all below them; nil ignores nothing. Blocks of main forks are compared one
// by one and, as masks say, without what legitimately differs; the main forks of
// unlogged relations are not compared when a mask is given. The order is that of
// the paths.
func DiffTrees(t testing.TB, a, b string, ignore func(path string) bool, masks ...Mask) []Difference {
	t.Helper()
	diff, err := diffTrees(a, b, ignore, masks)
	if err != nil {
		t.Fatal(err)
	}
	return diff
}

func diffTrees(a, b string, ignore func(path string) bool, masks []Mask) ([]Difference, error) {
	if ignore == nil {
		ignore = func(string) bool { return false }
	}
	var mask Mask
	for _, m := range masks {
		mask |= m
	}
	d := differ{a: a, b: b, ignore: ignore, mask: mask}
	err := d.directory("")
	return d.found, err
}

type differ struct {
	a, b   string
	ignore func(string) bool
	mask   Mask
	found  []Difference
}

func (d *differ) add(path, format string, args ...any) {
	d.found = append(d.found, Difference{path, -1, fmt.Sprintf(format, args...)})
}

func (d *differ) directory(path string) error {
	names, err := d.names(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		child := filepath.Join(path, name)
		if d.ignore(child) {
			continue
		}
		if err := d.entry(child); err != nil {
			return err
		}
	}
	return nil
}

// names of either side, sorted.
func (d *differ) names(path string) ([]string, error) {
	entriesA, err := os.ReadDir(filepath.Join(d.a, path))
	if err != nil {
		return nil, err
	}
	entriesB, err := os.ReadDir(filepath.Join(d.b, path))
	if err != nil {
		return nil, err
	}
	var names []string
	for len(entriesA) > 0 || len(entriesB) > 0 {
		switch {
		case len(entriesB) == 0 || len(entriesA) > 0 && entriesA[0].Name() < entriesB[0].Name():
			names, entriesA = append(names, entriesA[0].Name()), entriesA[1:]
		case len(entriesA) == 0 || entriesB[0].Name() < entriesA[0].Name():
			names, entriesB = append(names, entriesB[0].Name()), entriesB[1:]
		default:
			names, entriesA, entriesB = append(names, entriesA[0].Name()), entriesA[1:], entriesB[1:]
		}
	}
	return names, nil
}

func (d *differ) entry(path string) error {
	stA, errA := d.stat(d.a, path)
	stB, errB := d.stat(d.b, path)
	goneA, goneB := errors.Is(errA, fs.ErrNotExist), errors.Is(errB, fs.ErrNotExist)
	switch {
	case errA != nil && !goneA:
		return errA
	case errB != nil && !goneB:
		return errB
	case goneA || goneB:
		if goneA != goneB {
			d.add(path, "only on the %s side", map[bool]string{true: "second", false: "first"}[goneA])
		}
		return nil
	case stA.Mode() != stB.Mode():
		d.add(path, "mode %s and %s", stA.Mode(), stB.Mode())
		if stA.Mode().Type() != stB.Mode().Type() {
			return nil
		}
	}
	switch {
	case stA.IsDir():
		return d.directory(path)
	case stA.Mode().IsRegular():
		return d.file(path)
	}
	return nil
}

// stat follows the links that PostgreSQL makes, and no others.
func (d *differ) stat(side, path string) (fs.FileInfo, error) {
	if path == "pg_wal" || filepath.Dir(path) == "pg_tblspc" {
		return os.Stat(filepath.Join(side, path))
	}
	return os.Lstat(filepath.Join(side, path))
}

func (d *differ) file(path string) error {
	a, err := os.ReadFile(filepath.Join(d.a, path))
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(d.b, path))
	if err != nil {
		return err
	}
	if bytes.Equal(a, b) || d.mask != 0 && d.unlogged(path) {
		return nil
	}
	if !isMainFork(path) || len(a)%pageSize != 0 || len(b)%pageSize != 0 {
		d.add(path, "%d and %d bytes with different contents", len(a), len(b))
		return nil
	}
	if len(a) != len(b) {
		d.add(path, "%d and %d blocks", len(a)/pageSize, len(b)/pageSize)
	}
	for off := 0; off < min(len(a), len(b)); off += pageSize {
		if what := diffPages(a[off:off+pageSize], b[off:off+pageSize], d.mask); what != "" {
			d.found = append(d.found, Difference{path, int64(off / pageSize), what})
		}
	}
	return nil
}

// unlogged tells whether a main fork belongs to an unlogged relation: it has an
// init fork beside it.
func (d *differ) unlogged(path string) bool {
	m := mainFork.FindStringSubmatch(filepath.ToSlash(path))
	if m == nil {
		return false
	}
	_, err := os.Stat(filepath.Join(d.a, m[1]+"_init"))
	return err == nil
}
