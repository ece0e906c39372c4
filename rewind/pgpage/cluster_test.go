package pgpage_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// Every page that a server has written is new, or valid with the right
// checksum: heap, all kinds of indexes, sequences and the maps.
func TestEveryPageOfACluster(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
		n.Must(t).Exec(
			"CREATE TABLE t (i int, a int[], p point, s text)",
			"INSERT INTO t SELECT g, ARRAY[g, g + 1], point(g, g), repeat(md5(g::text), 40) FROM generate_series(1, 5000) g",
			"CREATE INDEX ON t USING btree (i)",
			"CREATE INDEX ON t USING hash (i)",
			"CREATE INDEX ON t USING gin (a)",
			"CREATE INDEX ON t USING gist (p)",
			"CREATE INDEX ON t USING spgist (p)",
			"CREATE INDEX ON t USING brin (i)",
			"CREATE SEQUENCE q",
			"CREATE UNLOGGED TABLE u AS SELECT i FROM t",
			"DELETE FROM t WHERE i % 3 = 0",
			"VACUUM t",
			"CHECKPOINT",
		)
		n.Must(t).Stop(rewindtest.Fast)
		counts := map[pg.ForkNo]int{}
		err := filepath.WalkDir(n.Dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			path, err := filepath.Rel(n.Dir, name)
			if err != nil {
				return err
			}
			rel, ok := pg.ParseRelPath(path, pg.Major(install.Major))
			if !ok {
				return nil
			}
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			counts[rel.Fork] += checkPages(t, path, content)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if counts[pg.MainFork] < 1000 || counts[pg.FSMFork] == 0 || counts[pg.VMFork] == 0 {
			t.Errorf("pages seen by fork: %v", counts)
		}
	})
}

// checkPages checks a file that is the first of its fork, as all here are.
func checkPages(t *testing.T, path string, content []byte) (pages int) {
	t.Helper()
	if len(content)%8192 != 0 {
		t.Errorf("%s: %d bytes", path, len(content))
	}
	for off := 0; off+8192 <= len(content); off += 8192 {
		page := content[off : off+8192]
		block := pg.BlockNo(off / 8192)
		pages++
		switch {
		case pgpage.IsNew(page):
		case !pgpage.Valid(page, 8192):
			h, _ := pgpage.ParseHeader(page)
			t.Errorf("%s block %d: header %+v is not valid", path, block, h)
		case !pgpage.Verify(page, block):
			t.Errorf("%s block %d: checksum %#x", path, block, pgpage.Checksum(page, block))
		}
	}
	return pages
}
