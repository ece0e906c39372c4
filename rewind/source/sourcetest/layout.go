package sourcetest

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
)

// layout is what the suite puts into a data directory.
type layout struct {
	dir     string
	files   []string // relative paths of readable files of moderate size
	missing []string
	huge    string // above the limit of ReadFile, sparse
}

// layOut makes the files and has them removed at the end of the test.
func layOut(t *testing.T, dataDir string) *layout {
	t.Helper()
	l := &layout{dir: dataDir, huge: "base/sourcetest/huge"}
	t.Cleanup(func() {
		_ = os.Chmod(filepath.Join(dataDir, "base/sourcetest/lost+found"), 0o700)
		for _, path := range []string{"base/sourcetest", "sourcetest.conf", "sourcetest dir"} {
			if err := os.RemoveAll(filepath.Join(dataDir, path)); err != nil {
				t.Error(err)
			}
		}
	})
	sizes := map[string]int{
		"empty": 0, "one": 1, "8191": 8191, "8192": 8192, "8193": 8193,
		"exact": rewind.MaxRange, "large": rewind.MaxRange + 12345, "larger": 3*rewind.MaxRange + 1,
		"with space": 100, " leading and trailing ": 101, `quote'"quote`: 102, `back\slash`: 103, "dollar$1{}": 104,
		"per%cent": 105, "new\nline": 106, "übung": 107, "latin-\xfc\xe9": 108, "bad-\xc3": 109, "\xff\xfe": 110,
		"-dash": 111, "*": 112, "NULL": 113, "{a,b}": 114, "~": 115, "sub/1249": 20000, "sub/deeper/2": 30000,
		"lat\xfcn dir/with \xe9 in it": 400, "lat\xfcn dir/plain": 401, "lat\xfcn dir/\xfcber/x": 402,
	}
	for name, size := range sizes {
		l.put(t, "base/sourcetest/"+name, size)
	}
	l.put(t, "sourcetest.conf", 500)
	l.put(t, "sourcetest dir/below", 501)
	l.mkdir(t, "base/sourcetest/empty dir")
	l.mkdir(t, "base/sourcetest/lost+found")
	l.put(t, "base/sourcetest/vanished", 10)
	l.makeSparse(t, l.huge, 64<<20+1)
	if err := os.Remove(l.abs("base/sourcetest/vanished")); err != nil {
		t.Fatal(err)
	}
	l.files = l.files[:len(l.files)-1]
	if notRoot() {
		if err := os.Chmod(l.abs("base/sourcetest/lost+found"), 0); err != nil {
			t.Fatal(err)
		}
	}
	l.missing = []string{
		"base/sourcetest/vanished", "base/sourcetest/no such file", "no/such/dir/x",
		"base/sourcetest/n\xf6 such file", "base/sourcetest/lat\xfcn dir/\xe9", "n\xf6/such/dir",
	}
	return l
}

func (l *layout) abs(path string) string { return filepath.Join(l.dir, filepath.FromSlash(path)) }

func (l *layout) mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(l.abs(path), 0o700); err != nil {
		t.Fatal(err)
	}
}

// put writes a file whose bytes depend on its name.
func (l *layout) put(t *testing.T, path string, size int) {
	t.Helper()
	l.mkdir(t, parentOf(path))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(path))).Read(data) // never fails
	if err := os.WriteFile(l.abs(path), data, 0o600); err != nil {
		t.Fatal(err)
	}
	l.files = append(l.files, path)
}

func (l *layout) makeSparse(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(l.abs(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (l *layout) content(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(l.abs(path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// listed is what a listing must show of the suite's files: nothing below the
// directory at the top level, nothing of an unreadable one but itself.
func (l *layout) listed(t *testing.T) []rewind.File {
	t.Helper()
	var files []rewind.File
	err := filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		relative, relErr := filepath.Rel(l.dir, path)
		if relErr != nil || !strings.Contains(relative, "sourcetest") {
			return relErr // PostgreSQL's own files come and go
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		f := rewind.File{Path: filepath.ToSlash(relative), Kind: rewind.KindDir}
		if !d.IsDir() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			f.Kind, f.Size = rewind.KindFile, info.Size()
		}
		files = append(files, f)
		if relative == "sourcetest dir" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("only %d files are on disk", len(files))
	}
	return files
}

// ranges are the edges of every file, and the missing ones.
func (l *layout) ranges(t *testing.T) []rewind.Range {
	t.Helper()
	var ranges []rewind.Range
	for _, path := range l.files {
		size := int64(len(l.content(t, path)))
		for _, r := range [][2]int64{
			{0, 0}, {0, 1}, {0, 8192}, {0, rewind.MaxRange}, {max(0, size-1), 1}, {max(0, size-1), 8192},
			{size, 8192}, {size + 1, 8192}, {size + 1<<33, rewind.MaxRange}, {size / 2, 100},
		} {
			ranges = append(ranges, rewind.Range{Path: path, Offset: r[0], Length: r[1]})
		}
	}
	for _, path := range l.missing {
		ranges = append(ranges, rewind.Range{Path: path, Offset: 8192, Length: 8192})
	}
	return append(ranges, rewind.Range{Path: l.huge, Offset: 64 << 20, Length: 8192})
}

// many are small ranges, as they come for a cluster's own files: each file in
// one run of ranges, with missing ones and a few odd names in between.
func (l *layout) many(n int) []rewind.Range {
	ranges := make([]rewind.Range, n)
	for i := range ranges {
		path := "base/sourcetest/sub/1249"
		switch {
		case i%97 == 0:
			path = l.missing[0]
		case i%89 == 0:
			path = l.files[i%len(l.files)]
		case i%2000 > 1000:
			path = "base/sourcetest/larger"
		}
		ranges[i] = rewind.Range{Path: path, Offset: int64(i%7) * 4096, Length: 512}
	}
	return ranges
}

// big are ranges of full length.
func (l *layout) big(n int) []rewind.Range {
	ranges := make([]rewind.Range, n)
	for i := range ranges {
		ranges[i] = rewind.Range{Path: "base/sourcetest/larger", Offset: int64(i%3) * rewind.MaxRange, Length: rewind.MaxRange}
	}
	return ranges
}

// on disk, what a range holds; nil if the file is missing.
func (l *layout) read(t *testing.T, r rewind.Range) []byte {
	t.Helper()
	f, err := os.Open(l.abs(r.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, r.Length)
	n, err := f.ReadAt(data, r.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return data[:n]
}

func (l *layout) check(t *testing.T, r rewind.Range, got rewind.Chunk) {
	t.Helper()
	want := l.read(t, r)
	if got.Missing != (want == nil) {
		t.Errorf("%+v: missing is %v", r, got.Missing)
	}
	if string(got.Data) != string(want) {
		t.Errorf("%+v: %d bytes that differ from the %d on disk", r, len(got.Data), len(want))
	}
}

func (l *layout) sum(t *testing.T, r rewind.Range) rewind.Sum {
	t.Helper()
	data := l.read(t, r)
	if data == nil {
		return rewind.Sum{Missing: true}
	}
	return rewind.Sum{SHA256: sha256.Sum256(data)}
}
