package rewind

import (
	"errors"
	"path"
	"slices"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// knownTimelines reads the history files in the target's pg_wal and tells which
// of them say what the source's of that number say. A number proves nothing: two
// standbys that are promoted without knowing of each other take the same. The
// first timeline has no history file.
func (t *target) knownTimelines(files map[string]*joined, source pg.History) (map[pg.Timeline]bool, error) {
	known := map[pg.Timeline]bool{1: true}
	for p, j := range files {
		tli, ok := pg.ParseHistoryFileName(path.Base(p))
		if !ok || path.Dir(p) != "pg_wal" || j.dst == nil || j.dst.Kind != KindFile {
			continue
		}
		want := source.UpTo(tli)
		if want == nil || j.dst.Size > maxHistorySize {
			continue
		}
		b, err := t.readFile(p, maxHistorySize)
		if err != nil {
			return nil, &Error{Op: "read history", Path: p, Err: errors.Join(ErrTargetWAL, err)}
		}
		have, err := pg.ParseHistory(tli, b) // a damaged one is none
		known[tli] = err == nil && slices.Equal(have, want)
	}
	return known, nil
}
