package rewind

import (
	"math/bits"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// pageMap is the set of blocks of main forks that may differ, as the target's
// WAL tells. Besides single blocks it knows relations that are to be taken
// from some block on, and databases that are to be taken whole.
type pageMap struct {
	rels map[pg.RelFileLocator]*relPages
	dbs  map[database]struct{}
}

// database is a database's directory in one tablespace.
type database struct{ spc, db pg.Oid }

// relPages are the blocks of one relation's main fork.
type relPages struct {
	set blockSet
	// from is the first block from which on everything differs; noLimit for none.
	from pg.BlockNo
}

// noLimit is no block: PostgreSQL's InvalidBlockNumber.
const noLimit = pg.BlockNo(1<<32 - 1)

func newPageMap() *pageMap {
	return &pageMap{rels: map[pg.RelFileLocator]*relPages{}, dbs: map[database]struct{}{}}
}

func (m *pageMap) rel(l pg.RelFileLocator) *relPages {
	r := m.rels[l]
	if r == nil {
		r = &relPages{from: noLimit}
		m.rels[l] = r
	}
	return r
}

func (m *pageMap) addBlock(l pg.RelFileLocator, b pg.BlockNo) { m.rel(l).set.add(uint32(b)) }

// addFrom marks all blocks from b on.
func (m *pageMap) addFrom(l pg.RelFileLocator, b pg.BlockNo) {
	r := m.rel(l)
	r.from = min(r.from, b)
}

func (m *pageMap) addDatabase(spc, db pg.Oid) { m.dbs[database{spc, db}] = struct{}{} }

// addAll adds what another map has.
func (m *pageMap) addAll(other *pageMap) {
	for l, r := range other.rels {
		m.addFrom(l, r.from)
		m.rel(l).set.addAll(&r.set)
	}
	for d := range other.dbs {
		m.dbs[d] = struct{}{}
	}
}

func (m *pageMap) wholeDatabase(spc, db pg.Oid) bool {
	_, ok := m.dbs[database{spc, db}]
	return ok
}

// runs gives the marked blocks of one segment file as runs counted from its
// beginning, cut off at blocks, the number of blocks that both sides have.
func (m *pageMap) runs(l pg.RelFileLocator, segment uint32, perSegment, blocks uint32) []BlockRun {
	if m.wholeDatabase(l.Spc, l.DB) && blocks > 0 {
		return []BlockRun{{First: 0, Count: blocks}}
	}
	r := m.rels[l]
	if r == nil || blocks == 0 {
		return nil
	}
	start := uint64(segment) * uint64(perSegment)
	all := uint32(blocks) // from here on everything
	if r.from != noLimit && uint64(r.from) < start+uint64(blocks) {
		all = uint32(max(uint64(r.from), start) - start)
	}
	var runs []BlockRun
	r.set.each(start, start+uint64(all), func(b uint64) { runs = appendRun(runs, uint32(b-start), 1) })
	if all < blocks {
		runs = appendRun(runs, all, blocks-all)
	}
	return runs
}

// appendRun adds blocks behind the last run, joining them where they touch.
func appendRun(runs []BlockRun, first, count uint32) []BlockRun {
	if n := len(runs); n > 0 && uint32(runs[n-1].First)+runs[n-1].Count == first {
		runs[n-1].Count += count
		return runs
	}
	return append(runs, BlockRun{First: pg.BlockNo(first), Count: count})
}

// unionRuns merges two ascending lists of runs and cuts them off at blocks.
func unionRuns(a, b []BlockRun, blocks uint32) []BlockRun {
	var set blockSet
	for _, runs := range [][]BlockRun{a, b} {
		for _, r := range runs {
			end := min(uint64(r.First)+uint64(r.Count), uint64(blocks))
			for i := uint64(r.First); i < end; i++ {
				set.add(uint32(i))
			}
		}
	}
	var out []BlockRun
	set.each(0, uint64(blocks), func(b uint64) { out = appendRun(out, uint32(b), 1) })
	return out
}

// blockSet is a set of block numbers in pages of 512, so that a set of far
// apart numbers stays small: a relation of 32 TB with one changed block at its
// end takes one page and not half a gigabyte.
type blockSet struct {
	pages map[uint32]*[8]uint64
}

func (s *blockSet) add(b uint32) {
	if s.pages == nil {
		s.pages = map[uint32]*[8]uint64{}
	}
	p := s.pages[b>>9]
	if p == nil {
		p = new([8]uint64)
		s.pages[b>>9] = p
	}
	p[b>>6&7] |= 1 << (b & 63)
}

func (s *blockSet) has(b uint32) bool {
	p := s.pages[b>>9]
	return p != nil && p[b>>6&7]&(1<<(b&63)) != 0
}

// all gives the members in no order.
func (s *blockSet) all(yield func(uint64) bool) {
	for n, words := range s.pages {
		for w, word := range words {
			for ; word != 0; word &= word - 1 {
				if !yield(uint64(n)<<9 + uint64(w)<<6 + uint64(bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

func (s *blockSet) addAll(other *blockSet) {
	if s.pages == nil {
		s.pages = map[uint32]*[8]uint64{}
	}
	for n, theirs := range other.pages {
		p := s.pages[n]
		if p == nil {
			p = new([8]uint64)
			s.pages[n] = p
		}
		for i, word := range theirs {
			p[i] |= word
		}
	}
}

// each calls fn for the members in [lo, hi), ascending.
func (s *blockSet) each(lo, hi uint64, fn func(uint64)) {
	if len(s.pages) == 0 {
		return
	}
	for page := lo >> 9; page<<9 < hi; page++ {
		p := s.pages[uint32(page)]
		if p == nil {
			continue
		}
		for w, word := range p {
			for word != 0 {
				b := page<<9 + uint64(w)<<6 + uint64(bits.TrailingZeros64(word))
				word &= word - 1
				if b >= lo && b < hi {
					fn(b)
				}
			}
		}
	}
}
