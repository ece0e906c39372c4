package rewind

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"
)

// compareBatch is how many ranges one call asks the source to hash.
const compareBatch = 512

// differing returns those entries whose files differ between the two sides.
// Hashing on the source costs a read there and 32 bytes on the wire; copying
// whole what did not change, as pg_rewind does with every free space map, costs
// all of it and a write here.
func differing(ctx context.Context, t *target, src Source, es []Entry, workers int, progress func(int64)) ([]Entry, error) {
	var ranges []Range
	var owner []int // index into es, by range
	for i, e := range es {
		for off := int64(0); off == 0 || off < e.SourceSize; off += MaxRange {
			// One byte more than there should be: a file that has grown differs.
			n := min(int64(MaxRange), e.SourceSize-off+1)
			ranges, owner = append(ranges, Range{Path: e.Path, Offset: off, Length: n}), append(owner, i)
		}
	}
	differs := make([]bool, len(ranges))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for lo := 0; lo < len(ranges); lo += compareBatch {
		hi := min(lo+compareBatch, len(ranges))
		g.Go(func() error { return compareRanges(ctx, t, src, ranges[lo:hi], differs[lo:hi], progress) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []Entry
	for i, d := range differs {
		if d && (len(out) == 0 || out[len(out)-1].Path != es[owner[i]].Path) {
			out = append(out, es[owner[i]])
		}
	}
	return out, nil
}

func compareRanges(ctx context.Context, t *target, src Source, ranges []Range, differs []bool, progress func(int64)) error {
	sums, err := src.HashRanges(ctx, ranges)
	if err != nil {
		return err
	}
	if len(sums) != len(ranges) {
		return &Error{Op: "compare files", Err: fmt.Errorf("%w: %d hashes for %d ranges", ErrDamaged, len(sums), len(ranges))}
	}
	for i, r := range ranges {
		sum, err := t.hash(r)
		if err != nil {
			return err
		}
		differs[i] = sums[i].Missing || sum.Missing || sum.SHA256 != sums[i].SHA256
		progress(r.Length)
	}
	return nil
}

// hash hashes what the target has in a range.
func (t *target) hash(r Range) (Sum, error) {
	f, err := t.openFile(r.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Sum{Missing: true}, nil
	}
	if err != nil {
		return Sum{}, unreadable("read file", r.Path, err)
	}
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(f, r.Offset, r.Length))
	if err = errors.Join(err, f.Close()); err != nil {
		return Sum{}, &Error{Op: "read file", Path: r.Path, Err: err}
	}
	return Sum{SHA256: [32]byte(h.Sum(nil))}, nil
}
