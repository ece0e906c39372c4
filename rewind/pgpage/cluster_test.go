package pgpage_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var captureDir = flag.String("capture", "", "write pages of TestEveryPageOfACluster to this `directory`, for testdata")

// capture adds a page to those of its major, if asked to.
func capture(t *testing.T, n *rewindtest.Node, relation string, block int) {
	t.Helper()
	if *captureDir == "" {
		return
	}
	content, err := os.ReadFile(filepath.Join(n.Dir, relation))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(*captureDir, fmt.Sprintf("pg%d-blocks3and1.bin", n.Install.Major)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(content[block*8192 : (block+1)*8192])
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

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
		heap, btree := n.Must(t).Value("SELECT pg_relation_filepath('t')"), n.Must(t).Value("SELECT pg_relation_filepath('t_i_idx')")
		n.Must(t).Stop(rewindtest.Fast)
		capture(t, n, heap, 3)
		capture(t, n, btree, 1)
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
