package rewind

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// blocksPerSegment is RELSEG_SIZE as everybody builds it: 1 GiB of 8 kB blocks.
const blocksPerSegment = 131072

var aRel = pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 16384}

func TestPageMapRuns(t *testing.T) {
	tests := []struct {
		name    string
		fill    func(*pageMap)
		segment uint32
		blocks  uint32
		want    []BlockRun
	}{
		{"nothing", func(*pageMap) {}, 0, 10, nil},
		{"neighbours join", func(m *pageMap) {
			for _, b := range []pg.BlockNo{3, 1, 2, 7} {
				m.addBlock(aRel, b)
			}
		}, 0, 10, []BlockRun{{1, 3}, {7, 1}}},
		{"cut off at what both have", func(m *pageMap) { m.addBlock(aRel, 9); m.addBlock(aRel, 10) }, 0, 10, []BlockRun{{9, 1}}},
		{"second segment counts from its beginning", func(m *pageMap) { m.addBlock(aRel, 99); m.addBlock(aRel, 102) }, 1, 10, []BlockRun{{2, 1}}},
		{"everything from a block on", func(m *pageMap) { m.addBlock(aRel, 1); m.addFrom(aRel, 4) }, 0, 10, []BlockRun{{1, 1}, {4, 6}}},
		{"the lowest limit counts", func(m *pageMap) { m.addFrom(aRel, 4); m.addFrom(aRel, 2); m.addFrom(aRel, 6) }, 0, 5, []BlockRun{{2, 3}}},
		{"a limit in the segment before", func(m *pageMap) { m.addFrom(aRel, 4) }, 1, 10, []BlockRun{{0, 10}}},
		{"a limit in the segment behind", func(m *pageMap) { m.addFrom(aRel, 150); m.addBlock(aRel, 3) }, 0, 10, []BlockRun{{3, 1}}},
		{"a whole database", func(m *pageMap) { m.addDatabase(aRel.Spc, aRel.DB) }, 0, 10, []BlockRun{{0, 10}}},
		{"another database", func(m *pageMap) { m.addDatabase(aRel.Spc, 6) }, 0, 10, nil},
		{"the last block there can be", func(m *pageMap) { m.addBlock(aRel, 1<<32-2) }, (1<<32 - 2) / 100, 100, []BlockRun{{94, 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newPageMap()
			tt.fill(m)
			if diff := cmp.Diff(tt.want, m.runs(aRel, tt.segment, 100, tt.blocks)); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRunsAreTheSet compares runs with the plainest form of a set.
func TestRunsAreTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.SliceOf(rapid.Uint32Range(0, 3000)).Draw(t, "blocks")
		limit := rapid.Uint32Range(0, 3000).Draw(t, "limit")
		m, want := newPageMap(), map[uint32]bool{}
		for _, b := range blocks {
			m.addBlock(aRel, pg.BlockNo(b))
			if b < limit {
				want[b] = true
			}
		}
		runs := m.runs(aRel, 0, blocksPerSegment, limit)
		got := 0
		next := uint32(0)
		for i, r := range runs {
			if i > 0 && uint32(r.First) <= next {
				t.Fatalf("run %v touches the one before it", r)
			}
			for b := uint32(r.First); b < uint32(r.First)+r.Count; b++ {
				if !want[b] {
					t.Fatalf("block %d is not in the set", b)
				}
				got++
			}
			next = uint32(r.First) + r.Count
		}
		if got != len(want) {
			t.Fatalf("%d blocks in the runs, %d in the set", got, len(want))
		}
		if diff := cmp.Diff(runs, unionRuns(runs, runs, limit)); diff != "" {
			t.Fatalf("a union with itself differs:\n%s", diff)
		}
	})
}

// TestPageMapAddAll compares the union of two maps with one that took everything.
func TestPageMapAddAll(t *testing.T) {
	l, m := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 1}, pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 2}
	fill := func(p *pageMap, side int) {
		if side != 1 {
			p.addBlock(l, 3)
			p.addBlock(l, 1<<20)
			p.addFrom(m, 70)
		}
		if side != 0 {
			p.addBlock(l, 4)
			p.addBlock(l, 600)
			p.addFrom(m, 50)
			p.addDatabase(1663, 7)
		}
	}
	got, other, want := newPageMap(), newPageMap(), newPageMap()
	fill(got, 0)
	fill(other, 1)
	fill(want, 2)
	got.addAll(other)
	for _, rel := range []pg.RelFileLocator{l, m, {Spc: 1663, DB: 7, Rel: 1}} {
		if diff := cmp.Diff(want.runs(rel, 0, 1<<17, 1000), got.runs(rel, 0, 1<<17, 1000)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", rel, diff)
		}
	}
	var members []uint64
	for b := range got.rel(l).set.all {
		members = append(members, b)
	}
	slices.Sort(members)
	if diff := cmp.Diff([]uint64{3, 4, 600, 1 << 20}, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}
