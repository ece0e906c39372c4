package rewind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgpage"
)

// piece is one range to be fetched and where it goes.
type piece struct {
	Range
	dst string
	// create: the piece is the whole of a file that is written anew.
	create bool
	// wal: a piece of a WAL file, which must be there; exact: and in full.
	wal, exact bool
	// still: the source cannot change, and must answer with want bytes; listed
	// is the size of the whole file.
	still        bool
	want, listed int64
}

// fetcher brings pieces from the source to the target over several
// connections. Pieces of one file lie together, so that a worker keeps the
// file open over them.
type fetcher struct {
	a      *applier
	pieces []piece
	bytes  atomic.Int64 // WAL included
	wal    atomic.Int64
	// gone are files that vanished from the source during the work.
	gone sync.Map
}

func (a *applier) newFetcher() *fetcher { return &fetcher{a: a} }

// addFile queues a whole file. It asks for more than the file had when it was
// listed, up to a full range: a small file that has grown comes complete.
func (f *fetcher) addFile(src, dst string, size int64) error {
	if f.a.still && !inWAL(src) {
		return f.addStill(src, dst, size)
	}
	if size <= MaxRange {
		f.pieces = append(f.pieces, piece{Range: Range{Path: src, Length: MaxRange}, dst: dst, create: true, wal: inWAL(src)})
		return nil
	}
	return f.addPieces(src, dst, (size+MaxRange-1)/MaxRange*MaxRange, 0)
}

// addStill queues a whole file of a source that cannot change, and asks for at
// least a byte more than the file had: there must be none.
func (f *fetcher) addStill(src, dst string, size int64) error {
	first := len(f.pieces)
	if size < MaxRange {
		f.pieces = append(f.pieces, piece{Range: Range{Path: src, Length: MaxRange}, dst: dst, create: true})
	} else if err := f.addPieces(src, dst, (size/MaxRange+1)*MaxRange, 0); err != nil {
		return err
	}
	for i := first; i < len(f.pieces); i++ {
		p := &f.pieces[i]
		p.still, p.listed = true, size
		p.want = min(p.Length, size-p.Offset)
	}
	return nil
}

// addSegment queues the first n bytes of a WAL segment; the rest of the copy is
// zeros, which is how a segment looks behind the end of WAL.
func (f *fetcher) addSegment(src, dst string, n, size int64) error {
	return f.addPieces(src, dst, n, size)
}

// addPieces queues the first n bytes of a file that several workers will write:
// it must be there, and empty, before. It is made of the given size.
func (f *fetcher) addPieces(src, dst string, n, size int64) error {
	file, err := f.a.w.create(dst)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return f.a.w.fail("create file", dst, err)
	}
	for off := int64(0); off < n; off += MaxRange {
		f.pieces = append(f.pieces, piece{Range: Range{Path: src, Offset: off, Length: min(MaxRange, n-off)}, dst: dst, wal: inWAL(src), exact: size > 0})
	}
	return nil
}

// addRange queues a part of a file that is there.
func (f *fetcher) addRange(p string, off, length int64) {
	for end := off + length; off < end; off += MaxRange {
		f.pieces = append(f.pieces, piece{Range: Range{Path: p, Offset: off, Length: min(MaxRange, end-off)}, dst: p})
	}
}

// Bounds of what a worker asks for at once: enough to keep the wire busy, not
// so much that one worker is left with the last of the work.
const (
	batchPieces = 512
	batchBytes  = 8 << 20
)

// run fetches what was queued.
func (f *fetcher) run(ctx context.Context) error {
	s := &saver{w: f.a.w, batches: f.batches(), ordered: f.a.engine.workers() == 1}
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return s.run(both) })
	g.Go(func() error { return f.fetch(both, s) })
	err := g.Wait()
	f.a.fetched += f.bytes.Load()
	f.a.fetchedWAL += f.wal.Load()
	f.pieces = nil
	if err == nil {
		err = context.Cause(ctx) // batches may be missing
	}
	return err
}

// fetch fetches batch by batch, several at a time.
func (f *fetcher) fetch(ctx context.Context, s *saver) error {
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(f.a.engine.workers())
	for _, b := range s.batches {
		if group.Err() != nil {
			break
		}
		g.Go(func() error { return f.batch(group, s, b) })
	}
	return g.Wait()
}

// batches divides what was queued.
func (f *fetcher) batches() []*batch {
	var out []*batch
	for lo := 0; lo < len(f.pieces); {
		hi := lo
		for bytes := int64(0); hi < len(f.pieces) && hi-lo < batchPieces && bytes < batchBytes; hi++ {
			bytes += f.pieces[hi].Length
		}
		out = append(out, &batch{pieces: f.pieces[lo:hi], saved: make(chan struct{})})
		lo = hi
	}
	return out
}

// batch fetches some pieces over one connection.
func (f *fetcher) batch(ctx context.Context, s *saver, b *batch) (err error) {
	pieces := b.pieces
	ranges := make([]Range, len(pieces))
	for i, p := range pieces {
		ranges[i] = p.Range
	}
	if err := s.begin(b); err != nil {
		return err
	}
	w := &pieceWriter{f: f}
	defer closing(&err, w.close)
	next := 0
	err = f.a.engine.Source.ReadRanges(ctx, ranges, func(c Chunk) error {
		p := &pieces[next]
		next++
		if c.Range != p.Range || int64(len(c.Data)) > p.Length {
			return &Error{Op: "fetch", Path: p.Path, Err: fmt.Errorf("%w: the source answers %d bytes of %q at %d", ErrDamaged, len(c.Data), c.Path, c.Offset)}
		}
		f.bytes.Add(int64(len(c.Data)))
		if inWAL(p.Path) {
			f.wal.Add(int64(len(c.Data)))
		}
		f.a.run.advance(int64(len(c.Data)))
		if err := s.wait(ctx, b); err != nil {
			return err
		}
		return w.write(p, c)
	})
	if err != nil {
		return err
	}
	if next != len(pieces) {
		return &Error{Op: "fetch", Err: fmt.Errorf("%w: the source answers %d of %d ranges", ErrDamaged, next, len(pieces))}
	}
	return w.repair(ctx)
}

// overwritten are the ranges that the pieces write in files that stay.
func overwritten(pieces []piece) []Range {
	var out []Range
	for _, p := range pieces {
		if !p.create {
			out = append(out, Range{Path: p.dst, Offset: p.Offset, Length: p.Length})
		}
	}
	return out
}

// pieceWriter writes the pieces of one batch, and keeps the last file open.
type pieceWriter struct {
	f    *fetcher
	path string
	file *os.File
	// suspect are blocks that failed their checksum: read while they were
	// being written, most likely.
	suspect []piece
}

func (w *pieceWriter) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file, w.path = nil, ""
	return err
}

func (w *pieceWriter) write(p *piece, c Chunk) error {
	if c.Missing {
		return w.missing(p)
	}
	if p.exact && int64(len(c.Data)) != p.Length {
		return sourceWALGone(p)
	}
	if p.still && int64(len(c.Data)) != p.want {
		return &SizeError{Path: p.Path, Listed: p.listed, Copied: p.Offset + int64(len(c.Data))}
	}
	if err := w.open(p); err != nil {
		if _, gone := w.f.gone.Load(p.dst); gone && isMissing(err) {
			return nil // another worker was told so first
		}
		return err
	}
	w.suspect = append(w.suspect, badPages(w.f.a.p, p, c.Data)...)
	if err := w.f.a.w.step("write", p.dst); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(c.Data, p.Offset); err != nil {
		return w.f.a.w.fail("write file", p.dst, err)
	}
	return nil
}

// missing handles a file that the source no longer has: it was dropped there
// meanwhile, and replay will drop it here; until then it must not be here with
// old content.
func (w *pieceWriter) missing(p *piece) error {
	if p.wal {
		return sourceWALGone(p)
	}
	if err := w.close(); err != nil {
		return err
	}
	w.f.gone.Store(p.dst, true)
	return w.f.a.w.remove(p.dst)
}

func sourceWALGone(p *piece) error {
	return &Error{Op: "fetch WAL", Path: p.Path, Err: fmt.Errorf("%w: it was recycled during the work", ErrSourceWAL),
		Advice: "raise wal_keep_size on the source, or use a replication slot, and run again"}
}

func (w *pieceWriter) open(p *piece) (err error) {
	if w.path == p.dst && !p.create {
		return nil
	}
	if err := w.close(); err != nil {
		return err
	}
	if p.create {
		w.file, err = w.f.a.w.create(p.dst)
	} else {
		w.file, err = w.f.a.w.modify(p.dst)
	}
	if err != nil {
		w.file = nil
		return err
	}
	w.path = p.dst
	return nil
}

// badPages returns the blocks in data that fail their checksum.
func badPages(plan *Plan, p *piece, data []byte) []piece {
	if !plan.Checksums {
		return nil
	}
	rel, ok := pg.ParseRelPath(p.Path, plan.Major)
	if !ok || rel.Fork != pg.MainFork {
		return nil
	}
	var bad []piece
	for off := int64(0); off+blockSize <= int64(len(data)); off += blockSize {
		if !pageOK(data[off:off+blockSize], rel, plan.RelSegSize, p.Offset+off) {
			bad = append(bad, piece{Range: Range{Path: p.Path, Offset: p.Offset + off, Length: blockSize}, dst: p.dst})
		}
	}
	return bad
}

func pageOK(page []byte, rel pg.RelFile, perSegment uint32, off int64) bool {
	block := pg.BlockNo(int64(rel.Segment)*int64(perSegment) + off/blockSize)
	return pgpage.IsNew(page) || pgpage.Verify(page, block)
}

// tornTries and tornWait bound how often a block is read again that fails its
// checksum. A page is written by one system call, so a torn read is over soon.
const (
	tornTries = 10
	tornWait  = 20 * time.Millisecond
)

// repair reads the suspect blocks again until they are whole.
func (w *pieceWriter) repair(ctx context.Context) error {
	for try := 0; len(w.suspect) > 0; try++ {
		if try == tornTries {
			p := w.suspect[0]
			return &Error{Op: "verify block", Path: p.Path,
				Err:    fmt.Errorf("%w: block %d fails its checksum at the source, each of %d times it was read", ErrDamaged, p.Offset/blockSize, tornTries),
				Advice: "the source's copy of this block is damaged: check it there with pg_amcheck and the server's log before anything else"}
		}
		if err := wait(ctx, tornWait); err != nil {
			return err
		}
		again := w.suspect
		w.suspect = nil
		ranges := make([]Range, len(again))
		for i, p := range again {
			ranges[i] = p.Range
		}
		i := 0
		err := w.f.a.engine.Source.ReadRanges(ctx, ranges, func(c Chunk) error {
			p := &again[i]
			i++
			return w.write(p, c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
