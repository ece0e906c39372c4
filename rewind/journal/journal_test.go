package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type record struct {
	Kind    uint16
	Payload string
}

func read(t testing.TB, j *Journal) ([]record, error) {
	t.Helper()
	var out []record
	err := j.Records(func(kind uint16, payload []byte) error {
		out = append(out, record{kind, string(payload)})
		return nil
	})
	return out, err
}

// reread opens the journal anew and reads it.
func reread(t testing.TB, dir string) ([]record, error) {
	t.Helper()
	j, err := OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	out, err := read(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return out, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB) (j *Journal, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "journal-dir")
	j, err := Create(dir, 0o700)
	must(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j, dir
}

// sample appends records in two synced batches and one that is not.
func sample(t testing.TB, j *Journal) []record {
	t.Helper()
	rs := []record{{1, "plan"}, {2, ""}, {2, string(bytes.Repeat([]byte("entries "), 20))}, {3, "ready"}, {9, "\x00\x00\x00\x00"}, {4, "not synced"}, {4, "nor this"}}
	for i, r := range rs {
		must(t, j.Append(r.Kind, []byte(r.Payload)))
		if i == 2 || i == 4 {
			must(t, j.Sync())
		}
	}
	return rs
}

func TestAppendAndRead(t *testing.T) {
	j, dir := create(t)
	want := sample(t, j)
	for range 2 {
		got, err := read(t, j)
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	must(t, j.Close())

	j, err := Open(dir)
	must(t, err)
	must(t, j.Append(7, []byte("after Open")))
	must(t, j.Sync())
	must(t, j.Close())
	got, err := reread(t, dir)
	must(t, err)
	if d := cmp.Diff(append(want, record{7, "after Open"}), got); d != "" {
		t.Error(d)
	}
}

func TestCreate(t *testing.T) {
	_, dir := create(t)
	st, err := os.Stat(dir)
	must(t, err)
	if st.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", st.Mode())
	}
	if st, err = os.Stat(filepath.Join(dir, fileName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", st.Mode(), err)
	}
	if _, err := Create(dir, 0o700); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	// What a crash within Create leaves behind.
	empty := t.TempDir()
	must(t, os.WriteFile(filepath.Join(empty, fileName+".tmp"), []byte("half"), 0o600))
	if _, err := Open(empty); !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory without journal: %v", err)
	}
	j, err := Create(empty, 0o750)
	must(t, err)
	must(t, j.Close())
	if _, err := Open(filepath.Join(empty, "missing")); !errors.Is(err, ErrNotFound) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Create(filepath.Join(empty, "a", "b"), 0o700); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no parent: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	j, dir := create(t)
	sample(t, j)
	must(t, j.Close())
	path := filepath.Join(dir, fileName)
	before, err := os.ReadFile(path)
	must(t, err)
	before = before[:len(before)-3]
	must(t, os.WriteFile(path, before, 0o600))
	j, err = OpenReadOnly(dir)
	must(t, err)
	if _, err := read(t, j); err != nil {
		t.Error(err)
	}
	if err := j.Append(1, nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Append: %v", err)
	}
	if err := j.Sync(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Sync: %v", err)
	}
	must(t, j.Close())
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("reading changed the file")
	}
}

// Cut off at any byte, the journal holds the records that were complete, and
// takes more.
func TestTornTail(t *testing.T) {
	j, dir := create(t)
	want := sample(t, j)
	must(t, j.Close())
	path := filepath.Join(dir, fileName)
	all, err := os.ReadFile(path)
	must(t, err)
	last := -1
	for n := fileHeaderSize; n <= len(all); n++ {
		must(t, os.WriteFile(path, all[:n], 0o600))
		got, err := reread(t, dir)
		if err != nil || len(got) > len(want) || !cmp.Equal(append([]record{}, want[:len(got)]...), append([]record{}, got...)) || len(got) < last {
			t.Fatalf("%d bytes: %v, %v", n, got, err)
		}
		last = len(got)

		j, err := Open(dir)
		must(t, err)
		must(t, j.Append(5, []byte("next")))
		must(t, j.Close())
		again, err := reread(t, dir)
		if want := append(append([]record{}, got...), record{5, "next"}); err != nil || !cmp.Equal(want, again) {
			t.Fatalf("%d bytes, then one more record: %v, %v", n, again, err)
		}
	}
	if last != len(want) {
		t.Errorf("%d records of the whole file, want %d", last, len(want))
	}
	for n := range fileHeaderSize {
		must(t, os.WriteFile(path, all[:n], 0o600))
		if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v, want ErrDamaged", n, err)
		}
	}
}

// One wrong byte never makes a wrong record; in what was synced it is damage.
func TestWrongByte(t *testing.T) {
	j, dir := create(t)
	want := sample(t, j)
	// The last proof lies behind the second batch.
	synced := j.synced
	must(t, j.Close())
	path := filepath.Join(dir, fileName)
	all, err := os.ReadFile(path)
	must(t, err)
	for i := range all {
		for bit := range 8 {
			all[i] ^= 1 << bit
			must(t, os.WriteFile(path, all, 0o600))
			all[i] ^= 1 << bit
			got, err := reread(t, dir)
			if len(got) > len(want) || !cmp.Equal(append([]record{}, want[:len(got)]...), append([]record{}, got...)) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, got)
			}
			if int64(i) < synced && !errors.Is(err, ErrDamaged) {
				t.Errorf("byte %d, bit %d, synced: %v, want ErrDamaged", i, bit, err)
			}
			if int64(i) >= synced && err != nil {
				t.Errorf("byte %d, bit %d, not synced: %v, want the end", i, bit, err)
			}
		}
	}
}

// Records that were not synced may reach the disk in any order.
func TestLaterOfABatchOnly(t *testing.T) {
	j, dir := create(t)
	must(t, j.Append(1, []byte("synced")))
	must(t, j.Sync())
	hole := j.end
	must(t, j.Append(2, []byte("lost")))
	must(t, j.Append(3, []byte("written")))
	_, err := j.file.WriteAt(make([]byte, 20), hole)
	must(t, err)
	must(t, j.Close())
	got, err := reread(t, dir)
	if want := []record{{1, "synced"}}; err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// A frame of another journal, or of another place, is none of this one.
func TestForeignFrames(t *testing.T) {
	a, dirA := create(t)
	b, dirB := create(t)
	for _, j := range []*Journal{a, b} {
		must(t, j.Append(1, []byte("one")))
		must(t, j.Append(2, []byte("two")))
	}
	bytesB, err := os.ReadFile(filepath.Join(dirB, fileName))
	must(t, err)
	frame := (a.end - fileHeaderSize) / 2
	second := int64(fileHeaderSize) + frame
	for name, content := range map[string][]byte{
		"of another journal": bytesB[second:],
		"of another place":   bytesB[fileHeaderSize:second],
	} {
		_, err := a.file.WriteAt(content, second)
		must(t, err)
		got, err := reread(t, dirA)
		if want := []record{{1, "one"}}; err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	_, dir := create(t)
	b := encodeFileHeader(7)
	b[8] = formatVersion + 1
	copy(b[fileHeaderSize-4:], le32(sum(b[:fileHeaderSize-4])))
	must(t, os.WriteFile(filepath.Join(dir, fileName), append(b, "whatever a newer one has"...), 0o600))
	if _, err := Open(dir); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("got %v, want ErrNewerFormat", err)
	}
}

func le32(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

func TestLimits(t *testing.T) {
	j, dir := create(t)
	if err := j.Append(1, make([]byte, MaxPayload+1)); err == nil {
		t.Error("too large a payload was taken")
	}
	if err := j.Append(kindSynced, nil); err == nil {
		t.Error("the reserved kind was taken")
	}
	must(t, j.Append(1, []byte("small")))
	must(t, j.Close())
	if got, err := reread(t, dir); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestErrorOfCallback(t *testing.T) {
	j, _ := create(t)
	sample(t, j)
	stop, n := errors.New("stop"), 0
	err := j.Records(func(uint16, []byte) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("%v after %d calls", err, n)
	}
}

// An append that failed leaves the records before it; the next one takes its place.
func TestFailedAppend(t *testing.T) {
	j, dir := create(t)
	must(t, j.Append(1, []byte("one")))
	file := j.file
	readOnly, err := os.Open(filepath.Join(dir, fileName))
	must(t, err)
	j.file = readOnly // writing fails
	if err := j.Append(2, []byte("two")); err == nil {
		t.Fatal("no error")
	}
	j.file = file
	must(t, readOnly.Close())
	_, err = file.WriteAt([]byte("a part of it"), j.end)
	must(t, err)
	must(t, j.Append(3, []byte("3")))
	if got, err := read(t, j); err != nil || !cmp.Equal([]record{{1, "one"}, {3, "3"}}, got) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	j, _ := create(t)
	file := j.file
	r, w, err := os.Pipe()
	must(t, err)
	j.file = w // cannot be synced
	if err := j.Sync(); err == nil {
		t.Fatal("no error")
	}
	j.file = file
	must(t, errors.Join(r.Close(), w.Close()))
	if err := j.Append(1, nil); err == nil {
		t.Error("Append after a failed sync: no error")
	}
	if err := j.Sync(); err == nil {
		t.Error("Sync after a failed sync: no error")
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path+".tmp", []byte("left behind, and longer than the content"), 0o400))
	for i, mode := range []fs.FileMode{0o600, 0o640} {
		content := fmt.Sprint("content ", i)
		must(t, WriteFile(path, []byte(content), mode))
		got, err := os.ReadFile(path)
		st, err2 := os.Stat(path)
		if err != nil || err2 != nil || string(got) != content || st.Mode().Perm() != mode {
			t.Errorf("%q, mode %v, %v %v", got, st.Mode(), err, err2)
		}
	}
	if _, err := os.Lstat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the temporary file is still there")
	}
	if err := WriteFile(filepath.Join(path, "below a file"), nil, 0o600); err == nil {
		t.Error("no error")
	}
}

// An exchange that fails leaves what was there.
func TestWriteFileOverDirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	must(t, os.MkdirAll(filepath.Join(path, "full"), 0o700))
	if err := WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Error("no error")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v; want the directory alone", entries, err)
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b")
	must(t, os.Mkdir(filepath.Dir(b), 0o700))
	must(t, os.WriteFile(a, []byte("x"), 0o600))
	must(t, os.WriteFile(b, []byte("old"), 0o600))
	must(t, Rename(a, b))
	if got, err := os.ReadFile(b); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if err := Rename(a, b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second time: %v", err)
	}
	if err := SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir: %v", err)
	}
}

// FuzzRecords reads arbitrary bytes behind a good file header.
func FuzzRecords(f *testing.F) {
	j, dir := create(f)
	sample(f, j)
	all, err := os.ReadFile(filepath.Join(dir, fileName))
	must(f, err)
	salt := j.salt
	f.Add(all[fileHeaderSize:])
	f.Add(all[fileHeaderSize : len(all)-5])
	f.Add(append(make([]byte, 30), all[fileHeaderSize+30:]...))
	f.Add([]byte{})
	path := filepath.Join(dir, fileName)
	f.Fuzz(func(t *testing.T, b []byte) {
		must(t, os.WriteFile(path, append(encodeFileHeader(salt), b...), 0o600))
		got, err := reread(t, dir)
		if err != nil {
			if !errors.Is(err, ErrDamaged) || got != nil {
				t.Fatalf("%v, after %d records", err, len(got))
			}
			return
		}
		j, err := Open(dir)
		must(t, err)
		must(t, j.Append(5, b))
		must(t, j.Close())
		again, err := reread(t, dir)
		must(t, err)
		if d := cmp.Diff(append(got, record{5, string(b)}), again); d != "" {
			t.Fatal(d)
		}
	})
}

// TestAppendWhileSyncing: what is appended during a sync is not lost, and not
// said to be on disk by the proof of that sync.
func TestAppendWhileSyncing(t *testing.T) {
	j, err := Create(filepath.Join(t.TempDir(), "j"), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 50
	var g sync.WaitGroup
	for w := range writers {
		g.Go(func() {
			for i := range each {
				if err := j.Append(1, bytes.Repeat([]byte{byte(w), byte(i)}, 500)); err != nil {
					t.Error(err)
				}
				if i%7 == w {
					if err := j.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	g.Wait()
	next := map[byte]byte{}
	n := 0
	err = j.Records(func(_ uint16, payload []byte) error {
		w, i := payload[0], payload[1]
		if i != next[w] {
			t.Errorf("record %d of writer %d came in place of %d", i, w, next[w])
		}
		next[w]++
		n++
		return nil
	})
	if err != nil || n != writers*each {
		t.Errorf("%d records, %v", n, err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
