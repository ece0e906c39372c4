package source_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// TestSQLAndDirAgree lists the same cluster running and stopped.
func TestSQLAndDirAgree(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		space := rewindtest.NewRoot(t)
		n := rewindtest.NewPrimary(t, pg, rewindtest.Options{InitArgs: []string{"--waldir=" + filepath.Join(space, "wal")}})
		must(t, os.Mkdir(filepath.Join(space, "a"), 0o700))
		must(t, os.Mkdir(filepath.Join(space, "b"), 0o700))
		n.Must(t).Exec("CREATE TABLESPACE a LOCATION '"+filepath.Join(space, "a")+"'",
			"CREATE TABLE in_a (i int) TABLESPACE a", "INSERT INTO in_a SELECT generate_series(1, 1000)", "CREATE TABLE plain (i int)",
			"CREATE TABLESPACE b LOCATION '"+filepath.Join(space, "b")+"'")
		if pg.Major >= 15 {
			n.Must(t).Exec("SET allow_in_place_tablespaces = on", "CREATE TABLESPACE c LOCATION ''", "CREATE TABLE in_c (i int) TABLESPACE c")
		}
		n.Must(t).Checkpoint()
		// A dangling link counts as a tablespace; its directory may be mounted later.
		must(t, os.RemoveAll(filepath.Join(space, "b")))
		sql := listing(t, open(t, source.SQLConfig{Conninfo: n.Conninfo()}))
		if _, err := source.OpenDir(n.Dir); !errors.Is(err, rewind.ErrTargetRunning) {
			t.Errorf("OpenDir on a running server: got %v, want ErrTargetRunning", err)
		}
		n.Must(t).Stop(rewindtest.Fast)
		d := openDir(t, n.Dir)
		dir := listing(t, d)
		changes := func(path, _ string) bool { // by stopping, or by running
			return path == "postmaster.pid" || strings.HasPrefix(path, "pg_dynshmem/") || strings.HasPrefix(path, "pg_stat") || strings.HasPrefix(path, "pg_logical/") ||
				strings.HasPrefix(path, "global/pg_") || strings.Contains(path, "pg_internal.init")
		}
		maps.DeleteFunc(sql, changes)
		maps.DeleteFunc(dir, changes)
		if diff := cmp.Diff(dir, sql); diff != "" {
			t.Errorf("the listings differ (-Dir +SQL):\n%s", diff)
		}
		links := 0
		for path, kind := range sql {
			if strings.HasPrefix(kind, "link ") {
				links++
				if want := "link " + space; !strings.HasPrefix(kind, want) {
					t.Errorf("%s: %s", path, kind)
				}
			}
		}
		if links != 2 || sql["pg_wal"] != "dir" {
			t.Errorf("%d links and pg_wal as %q, want 2 and a directory", links, sql["pg_wal"])
		}
	})
}

// TestListOddEntries: what the server cannot look at costs only itself.
func TestListOddEntries(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	s := open(t, source.SQLConfig{Conninfo: n.Conninfo()})
	base := filepath.Join(n.Dir, "base")
	before := listing(t, s)
	must(t, os.MkdirAll(filepath.Join(base, "odd"), 0o700))
	for i := range 50 {
		must(t, os.WriteFile(filepath.Join(base, "odd", fmt.Sprint("f", i)), nil, 0o600))
	}
	must(t, os.Symlink("f7loop", filepath.Join(base, "odd", "f7loop")))
	must(t, os.Symlink("nowhere", filepath.Join(base, "odd", "f30dangling")))
	for _, dir := range []string{"odd/lost+found", "odd/z unreadable", "odd/l\xfcst"} {
		must(t, os.MkdirAll(filepath.Join(base, dir, "below"), 0o700))
		must(t, os.Chmod(filepath.Join(base, dir), 0o000))
		t.Cleanup(func() { must(t, os.Chmod(filepath.Join(base, dir), 0o700)) })
	}
	must(t, os.MkdirAll(filepath.Join(base, "odd/y unsearchable"), 0o700))
	must(t, os.WriteFile(filepath.Join(base, "odd/y unsearchable/f"), nil, 0o600))
	must(t, os.Chmod(filepath.Join(base, "odd/y unsearchable"), 0o400))
	t.Cleanup(func() { must(t, os.Chmod(filepath.Join(base, "odd/y unsearchable"), 0o700)) })

	want := maps.Clone(before)
	want["base/odd"] = "dir"
	for i := range 50 {
		want[fmt.Sprint("base/odd/f", i)] = "file"
	}
	maps.Copy(want, map[string]string{
		"base/odd/f7loop": "other", "base/odd/lost+found": "dir", "base/odd/z unreadable": "dir", "base/odd/l\xfcst": "dir",
		"base/odd/y unsearchable": "dir", "base/odd/y unsearchable/f": "other",
	})
	if diff := cmp.Diff(want, listing(t, s)); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}

	// What PostgreSQL needs may not be left out.
	must(t, os.Mkdir(filepath.Join(base, "4711"), 0o000))
	err := s.List(t.Context(), func(rewind.File) error { return nil })
	var described *rewind.Error
	if !errors.Is(err, rewind.ErrSourcePrivilege) || !errors.As(err, &described) || described.Path != "base/4711" {
		t.Errorf("unreadable directory of a database: got %v, want ErrSourcePrivilege naming it", err)
	}
	must(t, os.Chmod(filepath.Join(base, "4711"), 0o700))
}

// TestListForeign: links in foreign directories neither lead round in circles
// for long nor into another cluster.
func TestListForeign(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	mine := filepath.Join(n.Dir, "mine")
	must(t, os.MkdirAll(filepath.Join(mine, "below"), 0o700))
	must(t, os.WriteFile(filepath.Join(mine, "below", "x"), nil, 0o600))
	must(t, os.Symlink(n.Dir, filepath.Join(mine, "cluster")))
	must(t, os.Symlink(mine, filepath.Join(mine, "below", "again")))
	must(t, os.Symlink(n.Dir, filepath.Join(n.Dir, "itself")))

	got := listing(t, open(t, source.SQLConfig{Conninfo: n.Conninfo()}))
	if _, ok := got["mine/below"]; ok || got["mine"] != "dir" {
		t.Error("a foreign directory was entered without being asked for")
	}
	got = listing(t, open(t, source.SQLConfig{Conninfo: n.Conninfo(), ForeignDirs: true}))
	if got["mine/below/x"] != "file" {
		t.Error("a foreign directory was not entered")
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if strings.HasPrefix(path, "mine/cluster/") || strings.HasPrefix(path, "itself/") || strings.Count(path, "/") > 17 {
			t.Fatalf("%s was listed", path)
		}
	}
}

// TestListManyFiles: the files of many relations take a second or two.
func TestListManyFiles(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	dir := filepath.Join(n.Dir, "base/sourcetest")
	must(t, os.Mkdir(dir, 0o700))
	const files = 10000
	for i := range files {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(100000+i)), nil, 0o600))
	}
	s := open(t, source.SQLConfig{Conninfo: n.Conninfo()})
	start, got := time.Now(), 0
	must(t, s.List(t.Context(), func(f rewind.File) error {
		if strings.HasPrefix(f.Path, "base/sourcetest/") {
			got++
		}
		return nil
	}))
	if got != files {
		t.Errorf("%d files are listed, want %d", got, files)
	}
	t.Logf("listed %d files in %v", files, time.Since(start))
	must(t, os.RemoveAll(dir))
}
