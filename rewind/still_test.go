package rewind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// sizesSource answers with zeros up to the size of the only file it has.
type sizesSource struct {
	Source
	size int64
}

func (s sizesSource) ReadRanges(_ context.Context, ranges []Range, fn func(Chunk) error) error {
	for _, r := range ranges {
		if err := fn(Chunk{Range: r, Data: make([]byte, max(0, min(r.Length, s.size-r.Offset)))}); err != nil {
			return err
		}
	}
	return nil
}

// TestStillSource: files of a stopped source are copied whole, and one that is
// not as long as it was listed ends the work.
func TestStillSource(t *testing.T) {
	for _, listed := range []int64{0, 1, MaxRange - 1, MaxRange, MaxRange + 1, 2 * MaxRange} {
		for _, real := range []int64{listed - 1, listed, listed + 1} {
			if real < 0 {
				continue
			}
			t.Run(fmt.Sprint(listed, " listed ", real), func(t *testing.T) {
				dir := t.TempDir()
				tgt, err := openTarget(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer tgt.close()
				e := &Engine{PGData: dir, Source: sizesSource{size: real}}
				f := (&applier{engine: e, run: e.newRun(), w: newWriter(tgt), p: &Plan{}, still: true}).newFetcher()
				if err := f.addFile("x", "x", listed); err != nil {
					t.Fatal(err)
				}
				err = f.run(t.Context())
				var size *SizeError
				if real != listed {
					if !errors.As(err, &size) || !errors.Is(err, ErrSourceChanged) || size.Listed != listed {
						t.Errorf("got %v, want a SizeError", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if fi, err := os.Stat(filepath.Join(dir, "x")); err != nil || fi.Size() != listed {
					t.Errorf("the copy: %v, %v; want %d bytes", fi, err, listed)
				}
			})
		}
	}
}
