package rewind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/failback-hook/failback-hook/rewind/journal"
)

// undoLog is what undoing a run will need. It grows before the directory
// changes, never after: a path has a pre-state in the journal before anything
// happens to it, and a block that is overwritten in place has a pre-image on
// disk before it is written.
//
// Only what was there before the very first run counts. A run that continues
// another one reads what that one has saved, and adds only what is new.
type undoLog struct {
	states map[string]*preState

	mu     sync.Mutex
	images *journal.Journal
	imaged map[string]*blockSet
	noSync bool
	saved  int64 // bytes of pre-images
}

// recordImage is the kind of the records in the journal of pre-images: the
// length of the path, the path, the offset, the bytes.
const recordImage = 1

// createUndoLog makes an empty one beside the journal of the run.
func createUndoLog(w *writer) (*undoLog, error) {
	j, err := journal.Create(filepath.Join(w.dir, undoDir), w.dirMode)
	if err != nil {
		return nil, err
	}
	return &undoLog{states: map[string]*preState{}, images: j, imaged: map[string]*blockSet{}, noSync: w.noSync}, nil
}

// openUndoLog reads what interrupted runs have saved.
func openUndoLog(w *writer, r *resume) (*undoLog, error) {
	j, err := journal.Open(filepath.Join(w.dir, undoDir))
	if err != nil {
		return nil, err
	}
	u := &undoLog{states: r.states, images: j, imaged: map[string]*blockSet{}, noSync: w.noSync}
	err = eachImage(j, func(i image) error {
		u.mark(i.path, i.offset, int64(len(i.data)))
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return u, nil
}

func (u *undoLog) close() error {
	if u == nil {
		return nil
	}
	return u.images.Close()
}

// all are the pre-states; none for a nil u.
func (u *undoLog) all() map[string]*preState {
	if u == nil {
		return nil
	}
	return u.states
}

// remember looks at the paths that have no pre-state yet and returns theirs.
// spaces are where the links of new tablespaces will lead.
func (u *undoLog) remember(t *target, paths []string, spaces map[string]string) ([]preState, error) {
	var out []preState
	for _, p := range paths {
		if u.states[p] != nil {
			continue
		}
		s, err := t.preStateOf(p)
		if err != nil {
			return nil, err
		}
		switch {
		case s.Kind == 0:
			s.Outside = missingDirs(spaces[p])
		case s.Kind != KindFile:
		case inWAL(p):
			s.Saved = savedWAL(p)
		default:
			s.Saved = t.savedPath(p, len(u.states))
		}
		u.states[p] = &s
		out = append(out, s)
	}
	return out, nil
}

// mark notes that the blocks of a range have pre-images.
func (u *undoLog) mark(p string, off, n int64) {
	set := u.imaged[p]
	if set == nil {
		set = &blockSet{}
		u.imaged[p] = set
	}
	for b := off / blockSize; b*blockSize < off+n; b++ {
		set.add(uint32(b))
	}
}

// missing gives what of a range has been there before the first run and has no
// pre-image, in pieces of at most MaxRange, and marks it.
func (u *undoLog) missing(s *preState, off, n int64) []Range {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []Range
	p, end := s.Path, min(off+n, s.Size)
	set := u.imaged[p]
	for b := off / blockSize; b*blockSize < end; b++ {
		if set != nil && set.has(uint32(b)) {
			continue
		}
		at, length := b*blockSize, min(blockSize, s.Size-b*blockSize)
		if k := len(out) - 1; k >= 0 && out[k].Offset+out[k].Length == at && out[k].Length+length <= MaxRange {
			out[k].Length += length
		} else {
			out = append(out, Range{Path: p, Offset: at, Length: length})
		}
		u.mark(p, at, length)
	}
	return out
}

// noPreState is what a change to a path ends with that nobody has announced. It
// would be a defect of this package; better an error than a change that cannot
// be taken back.
func noPreState(p string) error {
	return &Error{Op: "change", Path: p, Err: errors.New("what was there before is not in the journal")}
}

// append adds pre-images and has them on disk before it returns.
func (u *undoLog) append(images []image) error {
	if len(images) == 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, i := range images {
		if err := u.images.Append(recordImage, i.encode()); err != nil {
			return err
		}
		u.saved += int64(len(i.data))
	}
	if u.noSync {
		return nil
	}
	return u.images.Sync()
}

// image is what a run of blocks held.
type image struct {
	path   string
	offset int64
	data   []byte
}

func (i image) encode() []byte {
	b := make([]byte, 0, len(i.path)+len(i.data)+2*binary.MaxVarintLen64)
	b = binary.AppendUvarint(b, uint64(len(i.path)))
	b = append(b, i.path...)
	b = binary.AppendUvarint(b, uint64(i.offset))
	return append(b, i.data...)
}

// decodeImage reads what encode wrote.
func decodeImage(b []byte) (image, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return image{}, fmt.Errorf("%w: a pre-image without a path", journal.ErrDamaged)
	}
	i := image{path: string(b[k : k+int(n)])}
	b = b[k+int(n):]
	off, k := binary.Uvarint(b)
	if k <= 0 || off > 1<<62 {
		return image{}, fmt.Errorf("%w: a pre-image without an offset", journal.ErrDamaged)
	}
	i.offset, i.data = int64(off), b[k:]
	return i, nil
}

// eachImage calls fn with each pre-image, oldest first.
func eachImage(j *journal.Journal, fn func(image) error) error {
	return j.Records(func(kind uint16, payload []byte) error {
		if kind != recordImage {
			return fmt.Errorf("%w: record kind %d among the pre-images", journal.ErrNewerFormat, kind)
		}
		i, err := decodeImage(payload)
		if err != nil {
			return err
		}
		return fn(i)
	})
}

// readImages reads what lies in the ranges of one file. A file that ends before
// has been cut off by an interrupted run, which saved the rest.
func readImages(f *os.File, ranges []Range) ([]image, error) {
	var out []image
	for _, r := range ranges {
		b := make([]byte, r.Length)
		n, err := f.ReadAt(b, r.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n > 0 {
			out = append(out, image{path: r.Path, offset: r.Offset, data: b[:n]})
		}
	}
	return out, nil
}
