package rewind

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// freeOn is how much a file system has left.
func freeOn(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return int64(st.Bavail) * st.Bsize
}

// TestSpaceOfNewTablespace: what comes into a tablespace that is still to be made
// needs space where it will lie, not where PGDATA is.
func TestSpaceOfNewTablespace(t *testing.T) {
	pgdata, elsewhere := t.TempDir(), rewindtest.OtherFileSystem(t)
	free, other := freeOn(t, pgdata), freeOn(t, elsewhere)
	if free == other {
		t.Skipf("%s and %s have the same room", elsewhere, pgdata)
	}
	small, large := pgdata, elsewhere
	if other < free {
		small, large = elsewhere, pgdata
	}
	between := min(free, other) + (max(free, other)-min(free, other))/2
	for _, c := range []struct {
		name, dir, space string
		want             error
	}{
		{"into the small one", large, small, ErrNoSpace},
		{"into the large one", small, large, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp(c.dir, "space-")
			must(t, err)
			t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
			tgt, err := openTarget(dir)
			must(t, err)
			t.Cleanup(func() { must(t, tgt.close()) })
			p := &Plan{Major: 15, Entries: []Entry{
				{Path: "pg_tblspc/16390", Action: ActionSymlink, Kind: KindLink, Link: filepath.Join(c.space, "not", "made", "yet")},
				{Path: "pg_tblspc/16390/PG_15_202209061/5/1", Action: ActionCopy, Kind: KindFile, SourceSize: between},
			}}
			if err := checkSpace(tgt, p, false); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			} else if err != nil {
				t.Log(err)
			}
		})
	}
}
