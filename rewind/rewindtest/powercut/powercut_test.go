package powercut_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

// TestCut: what was synced is there after the cut, what was not is not, and each
// write has its moment.
func TestCut(t *testing.T) {
	for _, fs := range []powercut.FileSystem{powercut.Ext4, powercut.XFS, powercut.Btrfs} {
		t.Run(string(fs), func(t *testing.T) {
			t.Parallel()
			m := powercut.Open(t, fs)
			size := 64
			if fs != powercut.Ext4 {
				size = 320
			}
			blank := m.Format(size)
			dir := filepath.Join(m.Record(blank), "2")
			write(t, filepath.Join(dir, "synced"), "as written", true)
			first := m.Now()
			write(t, filepath.Join(dir, "lost"), "never seen again", false)
			second := m.Now()
			write(t, filepath.Join(dir, "late"), "as written", true)
			third := m.Now()
			m.Unmount()
			for _, cut := range []struct {
				at                 int
				synced, lost, late string
			}{
				{0, gone, gone, gone},
				{first, "as written", gone, gone},
				{second, "as written", gone, gone},
				{third, "as written", unsynced(fs), "as written"},
			} {
				i := m.Cut(powercut.Moment{At: cut.at})
				dir := filepath.Join(m.Mount(i), "2")
				for name, want := range map[string]string{"synced": cut.synced, "lost": cut.lost, "late": cut.late} {
					if got := read(t, filepath.Join(dir, name)); got != want {
						t.Errorf("cut at %d of %d: %s holds %q, want %q", cut.at, third, name, got, want)
					}
				}
				m.Unmount()
				m.Drop(i)
			}
			if n := len(m.Flushes()); n < 2 {
				t.Errorf("%d flushes were seen", n)
			}
		})
	}
}

const gone = "(gone)"

// unsynced is what a file holds that was not synced, when another one was: a journal
// that takes all names alike has its name, and none of its content.
func unsynced(fs powercut.FileSystem) string {
	if fs == powercut.Btrfs {
		return gone
	}
	return ""
}

func write(t *testing.T, name, content string, sync bool) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(content)
	if sync {
		err = errors.Join(err, unix.Fsync(int(f.Fd())))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return gone
	case err != nil:
		t.Fatal(err)
	}
	return string(b)
}
