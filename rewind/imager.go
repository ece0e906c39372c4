package rewind

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/s2"
)

// imager saves what a batch of ranges holds before it is overwritten.
type imager struct {
	w *writer
	// path of the last range, and its file; nil when nothing of that has to be saved.
	path  string
	state *preState
	file  *os.File
	// record is what has been gathered and not yet written.
	record []byte
	packed []byte
	// last is the last record that was written.
	last imageNo
}

// imageRecord is from which size on a record of pre-images is written: the
// memory that each worker takes.
const imageRecord = 1 << 20

// maxImageRecord is more than any record has before it is packed.
const maxImageRecord = imageRecord + MaxRange + 1<<16

// image saves what lies in the ranges and has not been saved yet. When it
// returns that is on disk, and the ranges may be overwritten.
func (w *writer) image(ranges []Range) error {
	if w.undo == nil {
		return nil
	}
	last, err := w.saveImages(ranges)
	if err != nil {
		return err
	}
	return w.syncImages(last)
}

// saveImages writes what lies in the ranges and has not been saved yet to the
// journal, and returns up to where that has to be synced. Ranges of one file should
// lie together.
func (w *writer) saveImages(ranges []Range) (last imageNo, err error) {
	g := imager{w: w}
	defer closing(&err, g.close)
	for _, r := range ranges {
		if err := g.add(r); err != nil {
			return 0, err
		}
	}
	err = g.flush()
	return g.last, err
}

// syncImages has the pre-images up to a record on disk.
func (w *writer) syncImages(to imageNo) error {
	if err := w.undo.sync(to); err != nil {
		return w.fail("save what will be overwritten in", undoDir, err)
	}
	return nil
}

// imageEnds saves the ends of the files that are to be cut off, with one sync.
func (w *writer) imageEnds(entries []Entry) error {
	var ends []Range
	for i := range entries {
		if e := &entries[i]; e.Action == ActionTruncate {
			ends = append(ends, Range{Path: e.Path, Offset: e.SourceSize / blockSize * blockSize, Length: max(0, e.TargetSize-e.SourceSize) + blockSize})
		}
	}
	return w.image(ends)
}

// imageBehind saves a file's end, which is to be cut off at size.
func (w *writer) imageBehind(p string, size int64) error {
	if w.undo == nil {
		return nil
	}
	fi, err := w.lstat(p)
	if err != nil {
		return w.fail("look at", p, err)
	}
	return w.image([]Range{{Path: p, Offset: size / blockSize * blockSize, Length: fi.Size()}})
}

func (g *imager) add(r Range) error {
	if r.Path != g.path {
		if err := g.open(r.Path); err != nil {
			return err
		}
	}
	if g.file == nil {
		return nil
	}
	for _, m := range g.w.undo.missing(g.state, r.Offset, r.Length) {
		if err := g.read(m); err != nil {
			return err
		}
	}
	return nil
}

// open turns to another file, and finds out whether anything of it has to be
// saved: not what a run has made, and not what lies aside as a whole.
func (g *imager) open(p string) error {
	if err := g.close(); err != nil {
		return err
	}
	g.path = p
	s, err := g.w.announced(p)
	if err != nil || s == nil || s.Kind != KindFile {
		return err
	}
	if moved, err := g.w.exists(s.Saved); err != nil || moved {
		return err
	}
	f, err := g.w.open(p)
	if isMissing(err) { // the source has lost the file, and a worker has moved ours aside just now
		if moved, again := g.w.exists(s.Saved); again != nil || moved {
			return again
		}
	}
	if err != nil {
		return g.w.fail("open file", p, err)
	}
	g.state, g.file = s, f
	return nil
}

func (g *imager) close() error {
	if g.file == nil {
		return nil
	}
	err := g.file.Close()
	g.file = nil
	return err
}

// read adds a range to the record. A file that ends before has been cut off by an
// interrupted run, which saved the rest.
func (g *imager) read(r Range) error {
	if len(g.record)+int(r.Length) > imageRecord {
		if err := g.flush(); err != nil {
			return err
		}
	}
	if g.record == nil {
		g.record = make([]byte, 0, imageRecord+imageHead+len(r.Path))
	}
	head := len(g.record)
	b := appendImageHead(g.record, r.Path, r.Offset, 0)
	data := len(b)
	b = append(b, make([]byte, r.Length)...)
	n, err := g.file.ReadAt(b[data:], r.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return g.w.fail("read file", r.Path, err)
	}
	binary.LittleEndian.PutUint32(b[head+10:], uint32(n))
	g.record = b[:data+n]
	return nil
}

// flush writes what has been gathered.
func (g *imager) flush() error {
	if len(g.record) == 0 {
		return nil
	}
	if err := g.w.step("image", g.path); err != nil {
		return err
	}
	g.packed = s2.Encode(g.packed[:cap(g.packed)], g.record)
	last, err := g.w.undo.append(g.packed)
	if err != nil {
		return g.w.fail("save what will be overwritten in", g.path, err)
	}
	g.record, g.last = g.record[:0], last
	return nil
}
