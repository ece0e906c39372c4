package pgwal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// recordHeaderSize is SizeOfXLogRecord.
const recordHeaderSize = 24

// Record is one WAL record. It and its slices are valid until the next call of
// the Reader that returned it.
//
// The header (XLogRecord in access/xlogrecord.h, 13 to 18) is
//
//	 0  u32  length of header and body
//	 4  u32  transaction id
//	 8  u64  start of the record before
//	16  u8   info
//	17  u8   resource manager
//	20  u32  CRC-32C of the body, then of the header up to here
type Record struct {
	// LSN is where the record begins, behind a page header if it begins a page.
	LSN pg.LSN
	// End is the first position behind it, a multiple of eight, as page LSNs and
	// timeline switches name it: at a page boundary, before the header there. The
	// end of a segment switch is the end of the segment.
	End pg.LSN
	// Prev is the start of the record before, as this one names it.
	Prev pg.LSN
	// Timeline is that of the history at LSN. (The page header names the one on
	// which the page was begun.)
	Timeline pg.Timeline
	// Major is the version that wrote the record.
	Major pg.Major
	// TotalLen counts header and body, without page headers and padding.
	TotalLen uint32
	XID      pg.XID
	// TopXID is the transaction that XID is a part of, where the record says so
	// (14 and later, under wal_level = logical); else zero.
	TopXID pg.XID
	// Origin is the replication origin; zero for local changes.
	Origin uint16
	Rmgr   Rmgr
	Info   uint8
	// Blocks are the pages that the record changes, in the record's order.
	Blocks []BlockRef
	// Main is the body that belongs to no block.
	Main []byte
}

// BlockRef names a page that a record changes
// (XLogRecordBlockHeader in access/xlogrecord.h).
type BlockRef struct {
	Locator pg.RelFileLocator
	Block   pg.BlockNo
	// ImageLen is the length of the full page image, compressed and without its
	// hole as the case may be; only meaningful with HasImage.
	ImageLen uint16
	// DataLen is the length of the block's data; zero without HasData.
	DataLen uint16
	// ID is the resource manager's number for the block, 0 to 32.
	ID   uint8
	Fork pg.ForkNo
	// HasImage: the record holds an image of the page.
	HasImage bool
	// Apply: replay restores the image; without it, it is for checking only.
	Apply bool
	// HasData: the record holds data for the block.
	HasData bool
	// WillInit: replay makes the page anew whatever is on disk.
	WillInit bool
	// Data are the DataLen bytes of the block's data.
	Data []byte

	// image are the ImageLen bytes that Page makes a page of.
	image               []byte
	holeStart, holeSize uint16
	compression         compression
}

// Ids of what follows the header (XLR_* in access/xlogrecord.h).
const (
	maxBlockID       = 32
	idTopLevelXID    = 252
	idOrigin         = 253
	idDataLong       = 254
	idDataShort      = 255
	blockForkMask    = 0x0F
	blockHasImage    = 0x10
	blockHasData     = 0x20
	blockWillInit    = 0x40
	blockSameRel     = 0x80
	imageHasHole     = 0x01
	imagePGLZUpTo14  = 0x02
	imageApplyUpTo14 = 0x04
	imageApply       = 0x02
	imageCompressed  = 0x04 | 0x08 | 0x10 // see compression; from 15 on
	maxFork          = 3
)

// recordSumOK compares the CRC-32C of a whole record.
func recordSumOK(b []byte, table *crc32.Table) bool {
	sum := crc32.Checksum(b[recordHeaderSize:], table)
	sum = crc32.Update(sum, table, b[:20])
	return sum == binary.LittleEndian.Uint32(b[20:])
}

// decode takes a whole record apart whose checksum is right. LSN, End and
// Timeline are left alone; the slice of blocks is reused.
func (r *Record) decode(b []byte, major pg.Major) error {
	if len(b) < recordHeaderSize {
		return fmt.Errorf("%w: %d bytes are too few", ErrMalformed, len(b))
	}
	r.TotalLen = binary.LittleEndian.Uint32(b)
	r.XID = pg.XID(binary.LittleEndian.Uint32(b[4:]))
	r.Prev = pg.LSN(binary.LittleEndian.Uint64(b[8:]))
	r.Info, r.Rmgr = b[16], Rmgr(b[17])
	r.Major, r.TopXID, r.Origin = major, 0, 0
	r.Blocks, r.Main = r.Blocks[:0], nil
	if uint64(r.TotalLen) != uint64(len(b)) {
		return fmt.Errorf("%w: length %d instead of %d", ErrMalformed, r.TotalLen, len(b))
	}
	if !r.Rmgr.valid(major) {
		return fmt.Errorf("%w: PostgreSQL %d has no resource manager %d", ErrMalformed, major, r.Rmgr)
	}
	return r.decodeBody(b[recordHeaderSize:])
}

// decodeBody reads the list of headers: what is left when they have announced
// as many bytes as there are is the data of the blocks and the main data.
func (r *Record) decodeBody(b []byte) error {
	c := cursor{b: b}
	announced, main := uint64(0), uint64(0)
	for uint64(c.left()) > announced {
		id := c.u8()
		switch {
		case id == idDataShort:
			main = uint64(c.u8())
		case id == idDataLong:
			main = uint64(c.u32())
		case id == idOrigin:
			r.Origin = c.u16()
		case id == idTopLevelXID && r.Major >= 14:
			r.TopXID = pg.XID(c.u32())
		case id <= maxBlockID:
			if err := r.decodeBlock(&c, id); err != nil {
				return err
			}
			last := &r.Blocks[len(r.Blocks)-1]
			announced += uint64(last.ImageLen) + uint64(last.DataLen)
		default:
			return fmt.Errorf("%w: unknown part %d", ErrMalformed, id)
		}
		if c.short {
			return fmt.Errorf("%w: its headers are cut off", ErrMalformed)
		}
		if id >= idDataLong { // always the last header
			announced += main
			break
		}
	}
	if uint64(c.left()) != announced {
		return fmt.Errorf("%w: %d bytes of data instead of %d", ErrMalformed, c.left(), announced)
	}
	for i := range r.Blocks {
		blk := &r.Blocks[i]
		blk.image = c.take(int(blk.ImageLen))
		if blk.HasData {
			blk.Data = c.take(int(blk.DataLen))
		}
	}
	r.Main = b[uint64(len(b))-main:]
	return nil
}

// decodeBlock reads one block reference and appends it.
func (r *Record) decodeBlock(c *cursor, id uint8) error {
	if n := len(r.Blocks); n > 0 && r.Blocks[n-1].ID >= id {
		return fmt.Errorf("%w: block %d out of order", ErrMalformed, id)
	}
	flags := c.u8()
	blk := BlockRef{
		ID:       id,
		Fork:     pg.ForkNo(flags & blockForkMask),
		HasImage: flags&blockHasImage != 0,
		HasData:  flags&blockHasData != 0,
		WillInit: flags&blockWillInit != 0,
		DataLen:  c.u16(),
	}
	if blk.Fork > maxFork {
		return fmt.Errorf("%w: block %d is of fork %d", ErrMalformed, id, blk.Fork)
	}
	if blk.HasData != (blk.DataLen != 0) {
		return fmt.Errorf("%w: block %d with %d bytes of data contradicts its flags", ErrMalformed, id, blk.DataLen)
	}
	if blk.HasImage {
		blk.decodeImage(c, r.Major)
	}
	switch {
	case flags&blockSameRel == 0:
		blk.Locator = c.locator()
	case len(r.Blocks) == 0:
		return fmt.Errorf("%w: block %d refers to a relation that was not named", ErrMalformed, id)
	default:
		blk.Locator = r.Blocks[len(r.Blocks)-1].Locator
	}
	blk.Block = pg.BlockNo(c.u32())
	r.Blocks = append(r.Blocks, blk)
	return nil
}

// decodeImage reads the header of a full page image. What its flags mean
// changed with 15, and with it how long the header is.
func (b *BlockRef) decodeImage(c *cursor, major pg.Major) {
	b.ImageLen, b.holeStart = c.u16(), c.u16()
	flags := c.u8()
	b.compression = compression(flags & imageCompressed)
	b.Apply = flags&imageApply != 0
	if major < 15 {
		b.compression = 0
		if flags&imagePGLZUpTo14 != 0 {
			b.compression = compressedPGLZ
		}
		b.Apply = flags&imageApplyUpTo14 != 0
	}
	switch {
	case flags&imageHasHole == 0:
	case b.compression != 0:
		b.holeSize = c.u16()
	case b.ImageLen < blockSize:
		b.holeSize = blockSize - b.ImageLen
	}
}
