package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// BenchmarkReadRanges fetches 128 MB of a file that is in the page cache, in
// ranges of the largest size and in single blocks.
func BenchmarkReadRanges(b *testing.B) {
	n := rewindtest.NewPrimary(b, rewindtest.Newest(b), rewindtest.Options{})
	const size = 128 << 20
	must(b, os.Mkdir(filepath.Join(n.Dir, "base/sourcetest"), 0o700))
	must(b, os.WriteFile(filepath.Join(n.Dir, "base/sourcetest/1"), make([]byte, size), 0o600))
	for _, length := range []int64{rewind.MaxRange, 8192} {
		for _, connections := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("length=%d/connections=%d", length, connections), func(b *testing.B) {
				s := open(b, source.SQLConfig{Conninfo: n.Conninfo(), Connections: connections})
				b.SetBytes(size)
				for b.Loop() {
					var group errgroup.Group
					share := int64(size / connections)
					for i := range int64(connections) {
						var ranges []rewind.Range
						for offset := i * share; offset < (i+1)*share; offset += length {
							ranges = append(ranges, rewind.Range{Path: "base/sourcetest/1", Offset: offset, Length: length})
						}
						group.Go(func() error {
							return s.ReadRanges(b.Context(), ranges, func(rewind.Chunk) error { return nil })
						})
					}
					must(b, group.Wait())
				}
			})
		}
	}
}
