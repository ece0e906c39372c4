package rewind_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestSalvage: the WAL that only the old primary had is where it was asked to go,
// once the work is done, and tells the same as the plan did. Interrupted after
// any of its files, it is complete after the next call.
func TestSalvage(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	dir := t.TempDir()
	n := s.copy(t, "salvage")
	e := s.keeping(t, n)
	e.Options.Salvage = rewind.Salvage{Dir: dir, Keep: 2}
	p := run(t, e)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Fatalf("before Discard: %v, %v", entries, err)
	}
	files := 0
	e.BeforeWrite(func(op, _ string) error {
		if op == "salvage" {
			if files++; files == 2 {
				return errKilled
			}
		}
		return nil
	})
	if _, err := e.Discard(context.Background()); err == nil {
		t.Fatal("not interrupted")
	}
	e.BeforeWrite(nil)
	got, err := e.Discard(context.Background())
	if err != nil || got == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	noOwnFiles(t, n.Dir)
	if filepath.Dir(got.Dir) != filepath.Join(dir, p.SystemID.String()) || got.Files < 3 {
		t.Errorf("%+v", got)
	}
	b, err := rewind.ReadSalvage(context.Background(), got.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Lost.Commits != p.Lost.Commits || b.Lost.To != p.Lost.To || b.Lost.Records != p.Lost.Records || p.Lost.Commits == 0 {
		t.Errorf("salvaged: %d commits, %d records, to %s; planned: %d, %d, %s",
			b.Lost.Commits, b.Lost.Records, b.Lost.To, p.Lost.Commits, p.Lost.Records, p.Lost.To)
	}

	// The same branch again, by runs that keep no undo: never over what is there,
	// and no more than two.
	for i := range 2 {
		again := s.copy(t, []string{"again", "and again"}[i])
		e := s.engine(t, again)
		e.Options.Salvage = rewind.Salvage{Dir: dir, Keep: 2}
		run(t, e)
		noOwnFiles(t, again.Dir)
	}
	left, err := os.ReadDir(filepath.Dir(got.Dir))
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := rewind.ReadSalvageManifest(got.Dir); err == nil {
		t.Error("the oldest is still there")
	}
}

// TestSalvageOtherFileSystem copies where nothing can be renamed.
func TestSalvageOtherFileSystem(t *testing.T) {
	t.Parallel()
	dir := rewindtest.OtherFileSystem(t)
	s := newInterrupted(t, rewindtest.Newest(t))
	n := s.copy(t, "elsewhere")
	e := s.engine(t, n)
	e.Options.Salvage = rewind.Salvage{Dir: dir}
	p := run(t, e)
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if b, err := rewind.ReadSalvage(context.Background(), found[0]); err != nil || b.Lost.Commits != p.Lost.Commits {
		t.Errorf("%+v, %v", b, err)
	}
}
