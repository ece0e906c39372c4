package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// snapshot is everything that can be seen of a directory tree without reading
// access times. The time of a directory tells also of files that came and went.
type snapshot map[string]entry

type entry struct {
	mode         fs.FileMode
	size         int64
	inode        uint64
	mtime, ctime syscall.Timespec
	content      string // hash of a file, target of a link
}

func takeSnapshot(t *testing.T, root string) snapshot {
	t.Helper()
	s := snapshot{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s[rel], err = look(path, d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func look(path string, d fs.DirEntry) (entry, error) {
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return entry{}, fmt.Errorf("look at %s: no inode", path)
	}
	e := entry{mode: info.Mode(), size: info.Size(), inode: st.Ino, mtime: st.Mtim, ctime: st.Ctim}
	switch {
	case info.Mode().IsRegular():
		e.content, err = hashFile(path)
	case info.Mode()&fs.ModeSymlink != 0:
		e.content, err = os.Readlink(path)
	}
	return e, err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return string(h.Sum(nil)), nil
}

// unchanged compares with what is there now.
func (s snapshot) unchanged(t *testing.T, root string) {
	t.Helper()
	now := takeSnapshot(t, root)
	paths := maps.Clone(s)
	maps.Copy(paths, now)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		before, was := s[path]
		after, is := now[path]
		switch {
		case !is:
			t.Errorf("%s is gone", path)
		case !was:
			t.Errorf("%s was made", path)
		case before != after:
			t.Errorf("%s was changed: %+v, before it was %+v", path, after, before)
		}
	}
}
