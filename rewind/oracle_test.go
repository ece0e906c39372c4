package rewind_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// engineFor makes an engine that rewinds one node from another.
func engineFor(t *testing.T, target, leader *rewindtest.Node) *rewind.Engine {
	t.Helper()
	src, err := source.OpenSQL(context.Background(), source.SQLConfig{Conninfo: leader.Conninfo(), Connections: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Errorf("close source: %v", err)
		}
	})
	return &rewind.Engine{PGData: target.Dir, Source: src, Options: rewind.Options{
		Standby: &rewind.Standby{Conninfo: leader.Conninfo("application_name=" + target.Name)},
	}}
}

// bringBack plans and applies, after it has done so once and taken it back: all
// that a rewind of this pair does can be undone.
func bringBack(t *testing.T, target, leader *rewindtest.Node) *rewind.Report {
	t.Helper()
	e := engineFor(t, target, leader)
	undoOnce(t, e)
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	r, err := e.Apply(context.Background(), p)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	noDivergedWAL(t, target, p)
	return r
}

// noDivergedWAL fails when recovery could come upon WAL of the branch that was
// given up: a file of a timeline that is not the source's, or, on the last one in
// common, anything behind the fork.
func noDivergedWAL(t *testing.T, n *rewindtest.Node, p *rewind.Plan) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.Dir, "pg_wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		tli, no, ok := pg.ParseSegmentName(e.Name(), p.WALSegSize)
		start := no.Start(p.WALSegSize)
		if !ok || start+pg.LSN(p.WALSegSize) <= p.Fork.LSN {
			continue
		}
		if !p.Source.History.Contains(tli, start+1) {
			t.Errorf("%s is still in pg_wal; the fork is at %s on timeline %d", e.Name(), p.Fork.LSN, p.Fork.Timeline)
			continue
		}
		if start > p.Fork.LSN || p.Source.History.Contains(tli, p.Fork.LSN+1) {
			continue // the source's own
		}
		b, err := os.ReadFile(filepath.Join(n.Dir, "pg_wal", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimLeft(b[p.Fork.LSN-start:], "\x00")) > 0 {
			t.Errorf("%s goes on behind the fork at %s", e.Name(), p.Fork.LSN)
		}
	}
}

// prove starts the rewound node and compares it with its leader in every way there is.
func prove(t *testing.T, target, leader *rewindtest.Node) {
	t.Helper()
	target.Must(t).Start()
	tli, err := leader.Timeline()
	if err != nil {
		t.Fatal(err)
	}
	rewindtest.WaitStreaming(t, leader, target.Name, tli)
	target.Must(t).WaitForCatchup(leader)
	rewindtest.CompareTables(t, leader, target)
	rewindtest.AmCheck(t, target)
}

// stopAll ends the leader first, so that its standbys end at the same position.
func stopAll(t *testing.T, checksums bool, leader *rewindtest.Node, standbys ...*rewindtest.Node) {
	t.Helper()
	for _, s := range standbys {
		s.Must(t).WaitForCatchup(leader)
	}
	leader.Must(t).Stop(rewindtest.Fast)
	for _, s := range standbys {
		s.Must(t).Stop(rewindtest.Fast)
		if checksums {
			rewindtest.Checksums(t, s.Install, s.Dir)
		}
	}
}

// TestOracle rewinds two copies of one diverged pair, one with stock pg_rewind
// and one with ours, and compares both with the leader and with each other. Where
// there is no pg_rewind the leader is the only oracle.
func TestOracle(t *testing.T) {
	scenes := []struct {
		name string
		opts rewindtest.Opts
	}{
		{"stopped", rewindtest.Opts{Seed: 1}},
		{"killed while writing", rewindtest.Opts{Seed: 2, KillOld: true}},
		{"checkpoints after the fork", rewindtest.Opts{Seed: 3, KillOld: true, CheckpointsAfterFork: 3}},
		{"small WAL segments", rewindtest.Opts{Seed: 4, Cluster: rewindtest.Options{WalSegSize: 1}}},
		{"hints without checksums", rewindtest.Opts{Seed: 5, Cluster: rewindtest.Options{NoChecksums: true}}},
	}
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		for _, s := range scenes {
			t.Run(s.name, func(t *testing.T) {
				pair := rewindtest.Diverged(t, install, s.opts)
				var stock []*rewindtest.Node // one, or none where there is no pg_rewind
				if install.Has("pg_rewind") {
					stock = append(stock, pair.Old.Clone(t, "stock"))
				} else {
					t.Logf("compared with the leader alone: %s has no pg_rewind", install)
				}
				report := bringBack(t, pair.Old, pair.New)
				if report.Plan.Strategy != rewind.StrategyWAL {
					t.Fatalf("strategy %s; the pair was to be diverged", report.Plan.Strategy)
				}
				if report.Plan.Lost.Commits == 0 {
					t.Errorf("no lost transaction counted; the old primary wrote behind the fork")
				}
				noOwnFiles(t, pair.Old.Dir)
				for _, node := range stock {
					if err := node.RejoinByPgRewind(pair.New); err != nil {
						t.Fatalf("stock pg_rewind: %v", err)
					}
					rewindtest.CompareTables(t, pair.New, node)
				}
				prove(t, pair.Old, pair.New)
				stopAll(t, !s.opts.Cluster.NoChecksums, pair.New, append(stock, pair.Old)...)
				for _, node := range stock {
					compareTrees(t, pair.Old, node)
				}
			})
		}
	})
}

// noOwnFiles fails when the engine left something of its own behind.
func noOwnFiles(t *testing.T, dir string) {
	t.Helper()
	for _, p := range []string{rewind.JournalDir, "pg_wal/failback_hook"} {
		if _, err := os.Lstat(filepath.Join(dir, p)); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
}

// compareTrees compares what two rewound and caught-up nodes have on disk. They
// may differ in what is the node's own, in WAL, and in what recovery makes anew.
func compareTrees(t *testing.T, ours, stock *rewindtest.Node) {
	t.Helper()
	ignore := func(p string) bool {
		top, _, _ := strings.Cut(p, "/")
		switch top {
		case "base", "global", "pg_xact", "pg_multixact", "pg_twophase", "pg_tblspc", "PG_VERSION", "pg_logical", "pg_replslot":
		default:
			return true // configuration, logs, WAL, statistics, what is emptied at start
		}
		// The free space map is a hint that replay does not keep in step; the
		// relation cache is rebuilt by whoever connects first.
		return p == "global/pg_control" || strings.HasSuffix(p, "_fsm") || strings.Contains(p, "pg_internal.init") || p == "pg_logical/replorigin_checkpoint"
	}
	for _, d := range rewindtest.DiffTrees(t, ours.Dir, stock.Dir, ignore, rewindtest.MaskAll) {
		if d.Block == 0 && isSPGistMeta(t, filepath.Join(ours.Dir, d.Path)) {
			continue // never logged by PostgreSQL: we fetch it, stock pg_rewind leaves the target's
		}
		t.Errorf("ours and stock pg_rewind's differ: %s", d)
	}
}

// isSPGistMeta tells whether the first block is the metapage of an SP-GiST
// index: SPGIST_MAGIC_NUMBER in access/spgist_private.h, behind the page header.
func isSPGistMeta(t *testing.T, path string) bool {
	t.Helper()
	page := make([]byte, 8192)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, page); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(page[24:]) == 0xBA0BABEE
}

// TestNotDiverged: a primary that was stopped cleanly after the standby had
// received everything needs no block.
func TestNotDiverged(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		pair := rewindtest.Diverged(t, install, rewindtest.Opts{Seed: 7, Clean: true})
		report := bringBack(t, pair.Old, pair.New)
		if got := report.Plan.Strategy; got != rewind.StrategyNone {
			t.Fatalf("strategy %s, want %s", got, rewind.StrategyNone)
		}
		if report.FetchedBytes != 0 || len(report.Plan.Entries) != 0 {
			t.Errorf("%d bytes fetched, %d entries; want none", report.FetchedBytes, len(report.Plan.Entries))
		}
		prove(t, pair.Old, pair.New)
		stopAll(t, true, pair.New, pair.Old)
	})
}
