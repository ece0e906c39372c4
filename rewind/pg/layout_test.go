package pg_test

import (
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestExcluded(t *testing.T) {
	yes := []string{
		"backup_label", "tablespace_map", "backup_manifest", "postmaster.pid", "postmaster.opts",
		"postgresql.auto.conf.tmp", "current_logfiles.tmp",
		"base/pgsql_tmp", "base/pgsql_tmp/pgsql_tmp123.0", "base/pgsql_tmp/pgsql_tmp123.0.sharedfileset/0.0",
		"pg_tblspc/16390/PG_15_202209061/pgsql_tmp/pgsql_tmp5.1",
		"base/5/pg_internal.init", "base/5/pg_internal.init.4711", "global/pg_internal.init",
		"pg_stat_tmp/global.stat", "pg_replslot/standby1", "pg_replslot/standby1/state", "pg_dynshmem/mmap.1",
		"pg_notify/0000", "pg_serial/0000", "pg_snapshots/00000003-0000001B-1", "pg_subtrans/0000",
	}
	no := []string{
		"", "pg_stat_tmp", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans",
		"base", "base/5", "base/5/16384", "base/5/PG_VERSION", "base/5/pg_filenode.map", "global/pg_control", "PG_VERSION",
		"postgresql.conf", "postgresql.auto.conf", "standby.signal", "recovery.signal", "backup_label.old",
		"pg_xact/0000", "pg_wal/000000010000000000000001", "pg_stat/pgstat.stat", "pg_logical/replorigin_checkpoint",
		// A user's own files, although they bear the names:
		"conf.d/backup_label", "log/postmaster.pid", "pgsql_tmp", "my/pgsql_tmp", "pg_internal.init", "pg_replslot.old/x",
	}
	for _, p := range yes {
		if !pg.Excluded(p) {
			t.Errorf("%q is not excluded", p)
		}
	}
	for _, p := range no {
		if pg.Excluded(p) {
			t.Errorf("%q is excluded", p)
		}
	}
}

func TestGuest(t *testing.T) {
	for _, p := range []string{
		"base/lost+found", "pg_wal/lost+found/x", "pg_tblspc/16390/lost+found", "pg_tblspc/16390/PG_14_202107181/5/1", "pg_tblspc/16390/mine/file",
		"pg_tblspc/16390/PG_15_2022090611",
	} {
		if !pg.Guest(p, 15) {
			t.Errorf("Guest(%q) = false", p)
		}
	}
	for _, p := range []string{
		"base", "base/5", "base/5/lost+found", "lost+found", "log/lost+found", "pg_tblspc", "pg_tblspc/16390", "pg_tblspc/16390/PG_15_202209061",
		"pg_tblspc/16390/PG_15_202209061/5/1", "pg_wal/000000010000000000000001", "mine/16390/PG_14_202107181",
	} {
		if pg.Guest(p, 15) {
			t.Errorf("Guest(%q) = true", p)
		}
	}
}

func TestInDataDirs(t *testing.T) {
	for _, p := range []string{
		"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot",
		"pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact",
		"PG_VERSION", "base/5/16384", "pg_multixact/members/0000",
	} {
		if !pg.InDataDirs(p) {
			t.Errorf("InDataDirs(%q) = false", p)
		}
	}
	for _, p := range []string{"", "log", "log/x.log", "postgresql.conf", "base.old/5/1", "PG_VERSION/x", "server.key", "/base", "pg_ident.conf", "pg_wal2"} {
		if pg.InDataDirs(p) {
			t.Errorf("InDataDirs(%q) = true", p)
		}
	}
}

func TestSafePath(t *testing.T) {
	for _, p := range []string{"a", "base/5/16384", "my dir/ä 'quoted' \\file", "..a", "a..b/..c", strings.Repeat("x", pg.MaxPath)} {
		if err := pg.SafePath(p); err != nil {
			t.Errorf("SafePath(%.20q): %v", p, err)
		}
	}
	for _, p := range []string{
		"", ".", "..", "/", "/etc/passwd", "../x", "a/../x", "a/..", "a/./b", "./a", "a//b", "a/", "a\x00b", "a/../../etc",
		strings.Repeat("x", pg.MaxPath+1),
	} {
		if err := pg.SafePath(p); err == nil {
			t.Errorf("SafePath(%.20q): no error", p)
		}
	}
}

func TestSlotName(t *testing.T) {
	tests := []struct{ member, want string }{
		{"n1", "n1"},
		{"Node-1.example.com", "node_1_example_com"},
		{"a b", "au0032b"},
		{"pg_1", "pg_1"},
		{"ä", "u0228"},
		{"😀", "u128512"},
		{"", ""},
		{strings.Repeat("a", 70), strings.Repeat("a", 63)},
		{strings.Repeat("a", 61) + "ä", strings.Repeat("a", 61) + "u0"},
	}
	for _, tt := range tests {
		if got := pg.SlotName(tt.member); got != tt.want {
			t.Errorf("SlotName(%q) = %q, want %q", tt.member, got, tt.want)
		}
	}
}
