package sourcetest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/source/sourcetest"
)

func skeleton(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"base/5", "global", "pg_wal"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"PG_VERSION", "global/pg_control", "base/5/PG_VERSION"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("15\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMem(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) (rewind.Source, string) {
		return new(sourcetest.Mem), skeleton(t)
	})
}

func TestMemFailsWhereTold(t *testing.T) {
	m := sourcetest.NewMem(map[string][]byte{"base/5/1249": make([]byte, 100)})
	fault := errors.New("fault")
	m.FailAt(3, fault)
	ranges := []rewind.Range{{Path: "base/5/1249", Length: 10}, {Path: "base/5/1249", Offset: 10, Length: 10}}
	chunks := 0
	err := m.ReadRanges(context.Background(), ranges, func(rewind.Chunk) error { chunks++; return nil })
	if !errors.Is(err, fault) || chunks != 1 {
		t.Errorf("got %v after %d chunks, want the fault after 1", err, chunks)
	}
	if _, err := m.HashRanges(context.Background(), ranges); err != nil {
		t.Errorf("after the fault: %v", err)
	}
}

func TestMemRemove(t *testing.T) {
	m := sourcetest.NewMem(map[string][]byte{"base/5/1": nil, "base/5/2": nil, "base/50/3": nil})
	m.Remove("base/5")
	var got []string
	if err := m.List(t.Context(), func(f rewind.File) error { got = append(got, f.Path); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[2] != "base/50/3" {
		t.Errorf("got %q", got)
	}
}
