package pg_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestParseRelPath(t *testing.T) {
	rel := func(spc, db, n pg.Oid, fork pg.ForkNo, segment uint32) pg.RelFile {
		return pg.RelFile{RelFileLocator: pg.RelFileLocator{Spc: spc, DB: db, Rel: n}, Fork: fork, Segment: segment, TempOwner: -1}
	}
	temp := rel(1663, 5, 16390, pg.VMFork, 3)
	temp.TempOwner = 12
	tests := []struct {
		path string
		want pg.RelFile
	}{
		{"base/5/16384", rel(1663, 5, 16384, pg.MainFork, 0)},
		{"base/5/16384.1", rel(1663, 5, 16384, pg.MainFork, 1)},
		{"base/5/16384_fsm", rel(1663, 5, 16384, pg.FSMFork, 0)},
		{"base/5/16384_vm.2", rel(1663, 5, 16384, pg.VMFork, 2)},
		{"base/5/16384_init", rel(1663, 5, 16384, pg.InitFork, 0)},
		{"global/1262", rel(1664, 0, 1262, pg.MainFork, 0)},
		{"base/4294967295/4294967295.4294967295", rel(1663, 4294967295, 4294967295, pg.MainFork, 4294967295)},
		{"pg_tblspc/16390/PG_15_202209061/5/16391_fsm", rel(16390, 5, 16391, pg.FSMFork, 0)},
		{"base/5/t12_16390_vm.3", temp},
	}
	for _, tt := range tests {
		got, ok := pg.ParseRelPath(tt.path, 15)
		if !ok || got != tt.want {
			t.Errorf("ParseRelPath(%q) = %+v, %v; want %+v", tt.path, got, ok, tt.want)
		}
		if tt.want.TempOwner == -1 {
			if got := pg.RelPath(tt.want.RelFileLocator, tt.want.Fork, tt.want.Segment, 15); got != tt.path {
				t.Errorf("RelPath(%+v) = %q, want %q", tt.want, got, tt.path)
			}
		}
	}
}

func TestParseRelPathRefuses(t *testing.T) {
	for _, path := range []string{
		"", "base", "base/", "base/5", "base/5/", "base/5/PG_VERSION", "base/5/pg_filenode.map", "base/pgsql_tmp/16384",
		"base/5/16384.0", "base/5/016384", "base/05/16384", "base/5/+16384", "base/5/-1", "base/5/16384.", "base/5/16384.1.2",
		"base/5/16384.01", "base/5/16384_", "base/5/16384_FSM", "base/5/16384_main", "base/5/16384_fsm_vm", "base/5/16384.1_fsm",
		"base/5/4294967296", "base/4294967296/16384", "base/5/16384/1", "base/5/0", "base/0/16384", "/base/5/16384", "./base/5/16384",
		"base//5/16384", "base/5/16384 ", "base/5/t_16384", "base/5/t1_", "base/5/t01_16384", "base/5/t-1_16384", "base/5/t99999999999_1",
		"base/5/1_6384", "base/5/16_384", "global/pg_control", "global/1262/1", "global/5/1262", "global/t1_16384",
		"pg_tblspc/16390/PG_14_202107181/5/16391", "pg_tblspc/16390/5/16391", "pg_tblspc/16390", "pg_tblspc/1663/PG_15_202209061/5/16391",
		"pg_tblspc/1664/PG_15_202209061/0/16391", "pg_tblspc/0/PG_15_202209061/5/x", "pg_wal/000000010000000000000001", "pg_xact/0000",
	} {
		if got, ok := pg.ParseRelPath(path, 15); ok || got != (pg.RelFile{}) {
			t.Errorf("ParseRelPath(%q) = %+v, %v", path, got, ok)
		}
	}
}

func TestRelPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		major := pg.Major(rapid.IntRange(13, 18).Draw(t, "major"))
		loc := pg.RelFileLocator{
			Spc: pg.Oid(rapid.OneOf(rapid.Just(uint32(pg.DefaultTablespace)), rapid.Just(uint32(pg.GlobalTablespace)), rapid.Uint32Min(16384)).Draw(t, "spc")),
			DB:  pg.Oid(rapid.Uint32Min(1).Draw(t, "db")),
			Rel: pg.Oid(rapid.Uint32Min(1).Draw(t, "rel")),
		}
		if loc.Spc == pg.GlobalTablespace {
			loc.DB = 0
		}
		want := pg.RelFile{RelFileLocator: loc, Fork: pg.ForkNo(rapid.IntRange(0, 3).Draw(t, "fork")), Segment: rapid.Uint32().Draw(t, "segment"), TempOwner: -1}
		path := pg.RelPath(loc, want.Fork, want.Segment, major)
		if got, ok := pg.ParseRelPath(path, major); !ok || got != want {
			t.Fatalf("ParseRelPath(%q) = %+v, %v; want %+v", path, got, ok, want)
		}
		if err := pg.SafePath(path); err != nil || !pg.InDataDirs(path) || pg.Excluded(path) {
			t.Fatalf("%q: %v, in data directories %v, excluded %v", path, err, pg.InDataDirs(path), pg.Excluded(path))
		}
	})
}

func TestRelNames(t *testing.T) {
	if got := (pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}).String(); got != "1663/5/16384" {
		t.Errorf("locator prints as %q", got)
	}
	for fork, want := range map[pg.ForkNo]string{pg.MainFork: "main", pg.FSMFork: "fsm", pg.VMFork: "vm", pg.InitFork: "init", 4: "fork(4)"} {
		if got := fork.String(); got != want || fork.Valid() != (fork < 4) {
			t.Errorf("fork %d prints as %q, valid %v", uint8(fork), got, fork.Valid())
		}
	}
	tests := []struct {
		spc, db pg.Oid
		want    string
	}{{1663, 5, "base/5"}, {1664, 0, "global"}, {16390, 5, "pg_tblspc/16390/PG_15_202209061/5"}}
	for _, tt := range tests {
		if got := pg.DatabaseDir(tt.spc, tt.db, 15); got != tt.want {
			t.Errorf("DatabaseDir(%d, %d) = %q, want %q", tt.spc, tt.db, got, tt.want)
		}
	}
}

func FuzzParseRelPath(f *testing.F) {
	for _, seed := range []string{"base/5/16384_fsm.1", "global/1262", "pg_tblspc/16390/PG_15_202209061/5/t3_16391_init", "base/5/t12_16390"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := pg.ParseRelPath(path, 15)
		if !ok {
			return
		}
		if got.Rel == 0 || !got.Fork.Valid() || got.TempOwner < -1 || pg.SafePath(path) != nil || !pg.InDataDirs(path) {
			t.Fatalf("%q is taken for %+v", path, got)
		}
		if made := pg.RelPath(got.RelFileLocator, got.Fork, got.Segment, 15); got.TempOwner == -1 && made != path {
			t.Fatalf("%q is spelled %q", path, made)
		}
	})
}

// TestParseDatabaseDir reads what DatabaseDir prints, and nothing else.
func TestParseDatabaseDir(t *testing.T) {
	for _, want := range []pg.RelFileLocator{{Spc: pg.DefaultTablespace, DB: 5}, {Spc: 16390, DB: 16384}} {
		path := pg.DatabaseDir(want.Spc, want.DB, 15)
		spc, db, ok := pg.ParseDatabaseDir(path, 15)
		if got := (pg.RelFileLocator{Spc: spc, DB: db}); !ok || got != want {
			t.Errorf("%s: got %v, %t; want %v", path, got, ok, want)
		}
	}
	for _, path := range []string{"", "base", "base/", "base/5/", "base/05", "base/5/1249", "base/pgsql_tmp", "global", "global/5",
		"pg_tblspc/16390", "pg_tblspc/16390/PG_14_202107181/5", "pg_wal/5"} {
		if spc, db, ok := pg.ParseDatabaseDir(path, 15); ok {
			t.Errorf("%q: got %d and %d, want none", path, spc, db)
		}
	}
}
