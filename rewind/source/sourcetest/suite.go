package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/failback-hook/failback-hook/rewind"
)

// Loader is a source that does not read the disk by itself and has to be told
// what is there, such as Mem.
type Loader interface {
	// Load replaces what the source holds by a directory's contents.
	Load(dir string) error
}

// Run checks a source against the data directory that it reads. open is called
// once; the suite then lays out files of its own in dataDir, below
// base/sourcetest and beside PostgreSQL's own at the top level, and removes them
// at the end. dataDir must be writable for the test.
func Run(t *testing.T, open func(t *testing.T) (src rewind.Source, dataDir string)) {
	t.Helper()
	src, dataDir := open(t)
	l := layOut(t, dataDir)
	if loader, ok := src.(Loader); ok {
		if err := loader.Load(dataDir); err != nil {
			t.Fatal(err)
		}
	}
	s := &suite{src: src, layout: l}
	t.Run("State", s.state)
	t.Run("List", s.list)
	t.Run("ListError", s.listError)
	t.Run("ReadFile", s.readFile)
	t.Run("ReadFileMissing", s.readFileMissing)
	t.Run("ReadFileTooLarge", s.readFileTooLarge)
	t.Run("ReadRanges", s.readRanges)
	t.Run("HashRanges", s.hashRanges)
	t.Run("ManyRanges", s.manyRanges)
	t.Run("NoRanges", s.noRanges)
	t.Run("BadRanges", s.badRanges)
	t.Run("CallbackError", s.callbackError)
	t.Run("Cancel", s.cancel)
	t.Run("Concurrent", s.concurrent)
}

type suite struct {
	src    rewind.Source
	layout *layout
}

func (s *suite) state(t *testing.T) {
	state, err := s.src.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := state.FlushLSN != 0, state.Running && !state.InRecovery; got != want {
		t.Errorf("%+v: an insert LSN goes with a running primary and with nothing else", state)
	}
}

func (s *suite) list(t *testing.T) {
	var got []rewind.File
	seen := map[string]rewind.Kind{}
	err := s.src.List(t.Context(), func(f rewind.File) error {
		if _, twice := seen[f.Path]; twice {
			t.Errorf("%q is listed twice", f.Path)
		}
		if parent := parentOf(f.Path); parent != "" && seen[parent] != rewind.KindDir && seen[parent] != rewind.KindLink {
			t.Errorf("%q is listed before its directory", f.Path)
		}
		seen[f.Path] = f.Kind
		if strings.Contains(f.Path, "sourcetest") {
			got = append(got, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen["global/pg_control"] != rewind.KindFile || seen["pg_wal"] != rewind.KindDir {
		t.Error("global/pg_control and pg_wal are not listed as a file and a directory")
	}
	byPath := cmpopts.SortSlices(func(a, b rewind.File) bool { return a.Path < b.Path })
	if diff := cmp.Diff(s.layout.listed(t), got, byPath, cmpopts.IgnoreFields(rewind.File{}, "Mode")); diff != "" {
		t.Errorf("listing differs from the disk (-disk +source):\n%s", diff)
	}
}

func (s *suite) listError(t *testing.T) {
	stop, calls := errors.New("stop"), 0
	err := s.src.List(t.Context(), func(rewind.File) error {
		calls++
		if calls == 5 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || calls != 5 {
		t.Errorf("got %v after %d calls, want the callback's error after 5", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls = 0
	err = s.src.List(ctx, func(rewind.File) error {
		if calls++; calls == 1 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after cancelling, want context.Canceled", err)
	}
}

func (s *suite) readFile(t *testing.T) {
	for _, path := range s.layout.files {
		got, err := s.src.ReadFile(t.Context(), path)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if want := s.layout.content(t, path); string(got) != string(want) {
			t.Errorf("%q: %d bytes that differ from the %d on disk", path, len(got), len(want))
		}
	}
}

func (s *suite) readFileMissing(t *testing.T) {
	for _, path := range s.layout.missing {
		if _, err := s.src.ReadFile(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v, want fs.ErrNotExist", path, err)
		}
	}
	if _, err := s.src.ReadFile(t.Context(), "base/sourcetest"); err == nil {
		t.Error("a directory was read")
	}
	for _, path := range badPaths {
		if _, err := s.src.ReadFile(t.Context(), path); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v, want a refusal", path, err)
		}
	}
}

func (s *suite) readFileTooLarge(t *testing.T) {
	data, err := s.src.ReadFile(t.Context(), s.layout.huge)
	if err == nil {
		t.Errorf("%d bytes were returned, want an error above 64 MiB", len(data))
	}
}

func (s *suite) readRanges(t *testing.T) {
	ranges := s.layout.ranges(t)
	got := s.fetch(t, ranges)
	for i, r := range ranges {
		s.layout.check(t, r, got[i])
	}
}

// fetch reads ranges, checks that the answers are the ones asked for, in order,
// and keeps copies.
func (s *suite) fetch(t *testing.T, ranges []rewind.Range) []rewind.Chunk {
	t.Helper()
	var got []rewind.Chunk
	err := s.src.ReadRanges(t.Context(), ranges, func(c rewind.Chunk) error {
		if len(got) >= len(ranges) || c.Range != ranges[len(got)] {
			return fmt.Errorf("chunk %d is %+v", len(got), c.Range)
		}
		c.Data = append([]byte(nil), c.Data...)
		got = append(got, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(ranges) {
		t.Fatalf("got %d chunks for %d ranges", len(got), len(ranges))
	}
	return got
}

func (s *suite) hashRanges(t *testing.T) {
	ranges := s.layout.ranges(t)
	got, err := s.src.HashRanges(t.Context(), ranges)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]rewind.Sum, len(ranges))
	for i, r := range ranges {
		want[i] = s.layout.sum(t, r)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hashes differ from the disk (-disk +source):\n%s", diff)
	}
}

func (s *suite) manyRanges(t *testing.T) { s.checkMany(t, 3000) }

func (s *suite) checkMany(t *testing.T, n int) {
	t.Helper()
	ranges := s.layout.many(n)
	for i, c := range s.fetch(t, ranges) {
		s.layout.check(t, ranges[i], c)
	}
	sums, err := s.src.HashRanges(t.Context(), ranges)
	if err != nil {
		t.Fatal(err)
	}
	if len(sums) != len(ranges) {
		t.Fatalf("got %d hashes for %d ranges", len(sums), len(ranges))
	}
	for i, r := range ranges {
		if want := s.layout.sum(t, r); sums[i] != want {
			t.Fatalf("hash of %+v: got %+v, want %+v", r, sums[i], want)
		}
	}
}

func (s *suite) noRanges(t *testing.T) {
	if got := s.fetch(t, nil); len(got) != 0 {
		t.Errorf("got %d chunks for no range", len(got))
	}
	if sums, err := s.src.HashRanges(t.Context(), nil); err != nil || len(sums) != 0 {
		t.Errorf("got %d hashes and %v for no range", len(sums), err)
	}
}

// badPaths would lead out of the data directory, or nowhere.
var badPaths = []string{"", "..", "../x", "/etc/passwd", "base/../../x", "base//1", "./base", "base/", "a\x00b"}

func (s *suite) badRanges(t *testing.T) {
	good := s.layout.files[0]
	bad := []rewind.Range{
		{Path: good, Offset: -1, Length: 1},
		{Path: good, Length: -1},
		{Path: good, Length: rewind.MaxRange + 1},
	}
	for _, path := range badPaths {
		bad = append(bad, rewind.Range{Path: path, Length: 1})
	}
	for _, r := range bad {
		calls := 0
		err := s.src.ReadRanges(t.Context(), []rewind.Range{r}, func(rewind.Chunk) error { calls++; return nil })
		if err == nil || calls > 0 {
			t.Errorf("%+v: got %v and %d chunks, want an error and none", r, err, calls)
		}
		if _, err := s.src.HashRanges(t.Context(), []rewind.Range{r}); err == nil {
			t.Errorf("%+v was hashed", r)
		}
	}
}

func (s *suite) callbackError(t *testing.T) {
	// An error that looks like one to be tried again must not be.
	stop, calls := fmt.Errorf("stop: %w", rewind.ErrSourceUnavailable), 0
	err := s.src.ReadRanges(t.Context(), s.layout.many(3000), func(rewind.Chunk) error {
		calls++
		if calls == 7 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || calls != 7 {
		t.Errorf("got %v after %d calls, want the callback's error after 7", err, calls)
	}
	s.works(t)
}

// works checks that the source is usable after a call that ended early.
func (s *suite) works(t *testing.T) {
	t.Helper()
	path := s.layout.files[1]
	got, err := s.src.ReadFile(t.Context(), path)
	if err != nil || string(got) != string(s.layout.content(t, path)) {
		t.Errorf("a later call got %d bytes and %v", len(got), err)
	}
}

func (s *suite) cancel(t *testing.T) {
	ranges := s.layout.big(2000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	var at time.Time
	err := s.src.ReadRanges(ctx, ranges, func(rewind.Chunk) error {
		if calls++; calls == 3 {
			cancel()
			at = time.Now()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || calls == len(ranges) {
		t.Errorf("got %v after %d chunks, want context.Canceled before the end", err, calls)
	}
	if took := time.Since(at); took > 2*time.Second {
		t.Errorf("the call went on for %v after it was cancelled", took)
	}
	if _, err := s.src.HashRanges(ctx, ranges); !errors.Is(err, context.Canceled) {
		t.Errorf("HashRanges with a cancelled context: %v", err)
	}
	if _, err := s.src.ReadFile(ctx, s.layout.files[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadFile with a cancelled context: %v", err)
	}
	if _, err := s.src.State(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("State with a cancelled context: %v", err)
	}
	s.works(t)
}

func (s *suite) concurrent(t *testing.T) {
	t.Run("group", func(t *testing.T) {
		for i := range 8 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				s.checkMany(t, 500)
				s.readFile(t)
			})
		}
	})
}

func parentOf(path string) string {
	if dir := filepath.ToSlash(filepath.Dir(path)); dir != "." {
		return dir
	}
	return ""
}

// notRoot tells whether file modes bind this process.
func notRoot() bool { return os.Geteuid() != 0 }
