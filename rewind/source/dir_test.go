package source_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/source"
	"github.com/failback-hook/failback-hook/rewind/source/sourcetest"
)

// skeleton is a directory that looks enough like a data directory: pg_wal and
// a tablespace are links, another link leads round in a circle.
func skeleton(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, sub := range []string{"data/base/5", "data/global", "data/pg_tblspc/77", "data/mine/below", "wal", "space/PG_15_202209061/5"} {
		must(t, os.MkdirAll(filepath.Join(root, sub), 0o700))
	}
	for _, name := range []string{
		"data/PG_VERSION", "data/global/pg_control", "data/mine/below/x", "data/pg_tblspc/77/inplace",
		"wal/000000010000000000000001", "space/PG_15_202209061/5/1249", "secret",
	} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(name), 0o600))
	}
	data := filepath.Join(root, "data")
	must(t, os.Symlink(filepath.Join(root, "wal"), filepath.Join(data, "pg_wal")))
	must(t, os.Symlink(filepath.Join(root, "space"), filepath.Join(data, "pg_tblspc/16390")))
	must(t, os.Symlink("..", filepath.Join(data, "base/circle")))
	must(t, os.Symlink("../../secret", filepath.Join(data, "base/escape")))
	must(t, syscall.Mkfifo(filepath.Join(data, "base/pipe"), 0o600))
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDir(t *testing.T, path string) *source.Dir {
	t.Helper()
	d, err := source.OpenDir(path)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func TestDir(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) (rewind.Source, string) {
		dir := skeleton(t)
		return openDir(t, dir), dir
	})
}

func TestDirMounts(t *testing.T) {
	dir := skeleton(t)
	d := openDir(t, dir)
	for path, want := range map[string]string{
		"pg_wal/000000010000000000000001":        "wal/000000010000000000000001",
		"pg_tblspc/16390/PG_15_202209061/5/1249": "space/PG_15_202209061/5/1249",
		"pg_tblspc/77/inplace":                   "data/pg_tblspc/77/inplace",
		"mine/below/x":                           "data/mine/below/x",
	} {
		got, err := d.ReadFile(t.Context(), path)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"base/escape", "base/pipe", "base"} {
		if got, err := d.ReadFile(t.Context(), path); err == nil {
			t.Errorf("%s was read: %q", path, got)
		}
	}
	got := listing(t, d)
	want := map[string]string{
		"base/circle": "link ..", "base/escape": "link ../../secret", "base/pipe": "other", "mine": "dir", "pg_wal": "dir",
		"pg_wal/000000010000000000000001": "file", "pg_tblspc/16390": "link " + filepath.Join(filepath.Dir(dir), "space"),
		"pg_tblspc/16390/PG_15_202209061/5/1249": "file", "pg_tblspc/77": "dir", "pg_tblspc/77/inplace": "file",
	}
	for path, kind := range want {
		if got[path] != kind {
			t.Errorf("%s is listed as %q, want %q", path, got[path], kind)
		}
	}
	if _, ok := got["mine/below"]; ok {
		t.Error("a foreign directory was entered without being asked for")
	}
	d.ForeignDirs = true
	if got := listing(t, d); got["mine/below/x"] != "file" {
		t.Error("a foreign directory was not entered")
	}
}

// listing maps paths to kinds, links with their targets.
func listing(t testing.TB, s rewind.Source) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, s.List(t.Context(), func(f rewind.File) error {
		kinds := map[rewind.Kind]string{rewind.KindFile: "file", rewind.KindDir: "dir", rewind.KindLink: "link " + f.Link, rewind.KindOther: "other"}
		files[f.Path] = kinds[f.Kind]
		return nil
	}))
	return files
}

func TestDirState(t *testing.T) {
	dir := skeleton(t)
	d := openDir(t, dir)
	got, err := d.State(t.Context())
	must(t, err)
	if diff := cmp.Diff(rewind.SourceState{FullPageWrites: true}, got); diff != "" {
		t.Error(diff)
	}
	must(t, os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o600))
	if got, err = d.State(t.Context()); err != nil || !got.InRecovery {
		t.Errorf("with standby.signal: %+v, %v", got, err)
	}
}

func TestOpenDirRefuses(t *testing.T) {
	if _, err := source.OpenDir(t.TempDir()); !errors.Is(err, rewind.ErrNotDataDir) {
		t.Errorf("an empty directory: got %v, want ErrNotDataDir", err)
	}
	if _, err := source.OpenDir(filepath.Join(t.TempDir(), "none")); !errors.Is(err, rewind.ErrNotDataDir) {
		t.Errorf("no directory: got %v, want ErrNotDataDir", err)
	}
	dir := skeleton(t)
	pidFile := filepath.Join(dir, "postmaster.pid")
	// This process runs, but is no server: its number has been used again.
	must(t, os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), dir), 0o600))
	openDir(t, dir)
}
