package rewind

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// oddTarget is a directory with names and files that no server makes.
func oddTarget(t *testing.T) *target {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"base/5", "base/l\xfcst/\xff\xfe", "base/\"quoted\"/new\nline", "base/lost+found", "pg_wal/archive_status", "pg_wal/copies", "mine/below"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	for _, f := range []string{"base/l\xfcst/\xff\xfe/x", "base/\"quoted\"/new\nline/'", "pg_wal/copies/000000010000000000000007", "pg_wal/archive_status/x.ready", "mine/below/x"} {
		must(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o600))
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "base/pipe"), 0o600))
	must(t, os.Symlink("loop", filepath.Join(dir, "base/loop")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "base/dangling")))
	tgt, err := openTarget(dir)
	must(t, err)
	t.Cleanup(func() { must(t, tgt.close()) })
	return tgt
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTargetLists names of any bytes, and goes only where PostgreSQL's files are.
func TestTargetLists(t *testing.T) {
	var got []string
	err := oddTarget(t).list(15, func(f File) error {
		got = append(got, f.Path+" "+f.Kind.String())
		return nil
	})
	must(t, err)
	want := []string{
		"base directory", "base/\"quoted\" directory", "base/\"quoted\"/new\nline directory", "base/\"quoted\"/new\nline/' file",
		"base/5 directory", "base/dangling link", "base/loop link", "base/lost+found directory", "base/l\xfcst directory",
		"base/l\xfcst/\xff\xfe directory", "base/l\xfcst/\xff\xfe/x file", "base/pipe other", "mine directory", "pg_wal directory",
		"pg_wal/archive_status directory", "pg_wal/archive_status/x.ready file", "pg_wal/copies directory",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTargetNeverWaits: a pipe, with a writer or without, is refused and not read.
func TestTargetNeverWaits(t *testing.T) {
	tgt := oddTarget(t)
	writer, err := os.OpenFile(filepath.Join(tgt.dir, "base/pipe"), os.O_RDWR, 0)
	must(t, err)
	for range 2 {
		done := make(chan error, 2)
		go func() {
			_, err := tgt.readFile("base/pipe", 10)
			done <- err
			_, err = tgt.hash(Range{Path: "base/pipe", Length: 10})
			done <- err
		}()
		for range 2 {
			select {
			case err := <-done:
				if !errors.Is(err, ErrNotDataDir) {
					t.Errorf("got %v, want ErrNotDataDir", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the pipe was waited for")
			}
		}
		_ = writer.Close() // the second time there is none
	}
}
