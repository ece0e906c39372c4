package rewindtest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// OtherFileSystem makes a directory on another file system than the one on which
// NewRoot and t.TempDir make theirs; it goes with the test. Where the machine has
// only one the test is skipped.
func OtherFileSystem(t testing.TB) string {
	t.Helper()
	for _, parent := range []string{"/dev/shm", "/var/tmp", "/tmp"} {
		dir, err := os.MkdirTemp(parent, "pg-")
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		file := filepath.Join(NewRoot(t), "x")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if errors.Is(os.Rename(file, filepath.Join(dir, "x")), unix.EXDEV) {
			return dir
		}
		_ = os.Remove(filepath.Join(dir, "x"))
	}
	t.Skip("no second file system in /dev/shm, /var/tmp or /tmp")
	return "" // not reached
}
