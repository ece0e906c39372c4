package rewind

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// ReadSalvage tells what was lost from a salvage directory alone. The WAL's own
// checksums prove what is read; a file that the manifest names and that is
// missing or changed makes an ErrDamaged.
func ReadSalvage(ctx context.Context, dir string) (*LostBranch, error) {
	m, err := ReadSalvageManifest(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{Op: "open salvage directory", Path: dir, Err: err}
	}
	s := salvage{root: root, m: m}
	b, err := s.read(ctx)
	closing(&err, root.Close)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// salvage is an open salvage directory.
type salvage struct {
	root *os.Root
	m    *SalvageManifest
}

var _ pgwal.SegmentOpener = salvage{}

// OpenSegment implements pgwal.SegmentOpener. Only what the manifest names counts.
func (s salvage) OpenSegment(_ context.Context, tli pg.Timeline, no pg.SegmentNo) (pgwal.Segment, error) {
	name := pg.SegmentName(tli, no, s.m.WALSegSize)
	byName := func(f SalvageFile, name string) int { return cmp.Compare(f.Name, name) }
	if _, named := slices.BinarySearchFunc(s.m.Files, name, byName); !named {
		return nil, &MissingWALError{Name: name, Err: fs.ErrNotExist}
	}
	f, err := s.root.Open(name)
	if err != nil { // not fs.ErrNotExist, which would be a normal end of the WAL
		return nil, &Error{Op: "open salvaged WAL", Path: name, Err: fmt.Errorf("%w: %s", ErrDamaged, err.Error())}
	}
	return checkSegmentSize(f, name, s.m.WALSegSize)
}

// read counts what lies behind the fork, beginning before it where the files
// reach back that far.
func (s salvage) read(ctx context.Context) (b *LostBranch, err error) {
	m := s.m
	r := pgwal.NewReader(pgwal.Options{
		SegmentSize: m.WALSegSize, PageSize: m.WALPageSize, SystemID: m.SystemID, Major: m.Major, History: m.History, Open: s,
	})
	defer closing(&err, r.Close)
	l := newLostCounter(m.Fork.LSN, m.Major)
	at, end, err := countRecords(ctx, r, l, m.From)
	if err == nil && at < m.Fork.LSN {
		l = newLostCounter(m.Fork.LSN, m.Major)
		at, end, err = countRecords(ctx, r, l, m.Fork.LSN)
	}
	if err != nil {
		return nil, err
	}
	if at != m.EndOfWAL {
		return nil, s.tooShort(at, end)
	}
	return s.branch(l.result(at)), nil
}

func (s salvage) branch(lost Lost) *LostBranch {
	m := s.m
	return &LostBranch{
		SystemID: m.SystemID, Major: m.Major, Fork: m.Fork, Lost: lost,
		Target: Side{Timeline: m.Timeline, History: m.History, EndOfWAL: m.EndOfWAL},
	}
}

// tooShort says where the WAL ends, and which file is to blame for it.
func (s salvage) tooShort(at pg.LSN, end *pgwal.EndError) error {
	err := fmt.Errorf("%w: it ends at %s and not at %s: %w", ErrDamaged, at, s.m.EndOfWAL, end)
	path := s.root.Name()
	for _, f := range s.m.Files {
		tli, no, ok := pg.ParseSegmentName(f.Name, s.m.WALSegSize)
		if !ok || tli != s.m.History.At(at) || no != pg.SegmentOf(at, s.m.WALSegSize) {
			continue
		}
		path = filepath.Join(path, f.Name)
		if is, e := s.m.describe(s.root.Name(), f.Name); e == nil && is != f {
			err = fmt.Errorf("%w; %s is not the file that was salvaged", err, f.Name)
		}
	}
	return &Error{Op: "read salvaged WAL", Path: path, LSN: at, Err: err}
}
