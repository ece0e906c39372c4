package rewind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/s2"

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
	// written is the last record of this process.
	written imageNo
	noSync  bool

	syncing sync.Mutex
	// synced is the last record that is known to be on disk.
	synced imageNo
}

// imageNo counts the records of pre-images that a process has written.
type imageNo int64

// recordImages is the kind of the records in the journal of pre-images: an S2
// block of any number of them, each with its head, its path and its bytes. Writing
// them to disk is most of what undo costs, and most pages become half as long or less.
const recordImages = 1

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

// append adds a record of pre-images and returns its number; sync has it on disk.
func (u *undoLog) append(record []byte) (imageNo, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.images.Append(recordImages, record); err != nil {
		return 0, err
	}
	u.written++
	return u.written, nil
}

// sync returns when the records up to one are on disk. Who comes first syncs all
// that there is, for those who wait behind it as well.
func (u *undoLog) sync(to imageNo) error {
	if u.noSync {
		return nil
	}
	u.syncing.Lock()
	defer u.syncing.Unlock()
	if to <= u.synced {
		return nil
	}
	u.mu.Lock()
	written := u.written
	u.mu.Unlock()
	if err := u.images.Sync(); err != nil {
		return err
	}
	u.synced = written
	return nil
}

// image is what a run of blocks held.
type image struct {
	path   string
	offset int64
	data   []byte
}

// imageHead is the size of what stands before the data of a pre-image, but for
// the path: lengths of path and data, and the offset.
const imageHead = 2 + 8 + 4

// appendImageHead adds the head of a pre-image of n bytes to a record.
func appendImageHead(b []byte, path string, offset int64, n int) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(path)))
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return append(b, path...)
}

// decodeImages calls fn with each pre-image in a record.
func decodeImages(b []byte, fn func(image) error) error {
	for len(b) > 0 {
		if len(b) < imageHead {
			return fmt.Errorf("%w: a pre-image without a head", journal.ErrDamaged)
		}
		name, off, n := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint64(b[2:]), int64(binary.LittleEndian.Uint32(b[10:]))
		b = b[imageHead:]
		if off > 1<<62 || int64(len(b)) < int64(name)+n {
			return fmt.Errorf("%w: a pre-image that is longer than its record", journal.ErrDamaged)
		}
		i := image{path: string(b[:name]), offset: int64(off), data: b[name : int64(name)+n]}
		b = b[int64(name)+n:]
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// unpackImages undoes the packing of a record; buf is used if it is large enough.
func unpackImages(buf, packed []byte) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err == nil && n > maxImageRecord {
		err = fmt.Errorf("%d bytes, more than %d", n, maxImageRecord)
	}
	if err == nil {
		buf, err = s2.Decode(buf[:cap(buf)], packed)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: a record of pre-images: %w", journal.ErrDamaged, err)
	}
	return buf, nil
}

// eachImage calls fn with each pre-image, oldest first.
func eachImage(j *journal.Journal, fn func(image) error) error {
	var buf []byte
	return j.Records(func(kind uint16, payload []byte) error {
		if kind != recordImages {
			return fmt.Errorf("%w: record kind %d among the pre-images", journal.ErrNewerFormat, kind)
		}
		b, err := unpackImages(buf, payload)
		if err != nil {
			return err
		}
		buf = b
		return decodeImages(b, fn)
	})
}
