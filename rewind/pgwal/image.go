package pgwal

// compression says how a page image is compressed: the bits that 15 and later
// have for it (BKPIMAGE_COMPRESS_* in access/xlogrecord.h).
type compression uint8

const (
	compressedPGLZ compression = 0x04
	compressedLZ4  compression = 0x08
)

// blockSize is BLCKSZ as nearly all servers are built.
const blockSize = 8192

// Page makes the page of which the record holds an image, in buf, which must
// have 8192 bytes. ok is false where there is none, where its parts do
// not add up to a page, and where it is compressed by zstd, which the standard
// library does not know.
func (b *BlockRef) Page(buf []byte) (page []byte, ok bool) {
	if !b.HasImage || len(buf) < blockSize {
		return nil, false
	}
	start, size := int(b.holeStart), int(b.holeSize)
	if size == 0 {
		start = 0
	}
	page = buf[:blockSize]
	if start+size > len(page) {
		return nil, false
	}
	// The page without its hole is put at the buffer's beginning first.
	data := page[:len(page)-size]
	switch b.compression {
	case 0:
		if len(b.image) != len(data) {
			return nil, false
		}
		copy(data, b.image)
	case compressedPGLZ:
		ok = decompressPGLZ(data, b.image)
	case compressedLZ4:
		ok = decompressLZ4(data, b.image)
	}
	if b.compression != 0 && !ok {
		return nil, false
	}
	copy(page[start+size:], data[start:])
	clear(page[start : start+size])
	return page, true
}

// decompressPGLZ undoes PostgreSQL's own compression (common/pg_lzcompress.c):
// a byte of flags, lowest bit first, for the eight items that follow; an item is
// one byte as it is, or a distance of 12 bits and a length of 4, with one more
// byte where that is at its largest. It wants dst to be filled exactly.
func decompressPGLZ(dst, src []byte) bool {
	const shortest, longest = 3, 18
	c, n := cursor{b: src}, 0
	for n < len(dst) && c.left() > 0 {
		flags := c.u8()
		for i := 0; i < 8 && n < len(dst) && c.left() > 0; i, flags = i+1, flags>>1 {
			if flags&1 == 0 {
				dst[n] = c.u8()
				n++
				continue
			}
			head, low := c.u8(), c.u8()
			length, distance := int(head&0x0F)+shortest, int(head&0xF0)<<4|int(low)
			if length == longest {
				length += int(c.u8())
			}
			if c.short || !repeatBytes(dst, n, distance, length) {
				return false
			}
			n += length
		}
	}
	return n == len(dst) && c.left() == 0
}

// decompressLZ4 undoes the LZ4 block format: a byte with the lengths of a run
// of literal bytes and of a repetition, each continued by further bytes where
// its four bits are full, and a distance of 16 bits between the two. The last
// sequence has literals only. It wants dst to be filled exactly.
func decompressLZ4(dst, src []byte) bool {
	const shortest = 4
	c, n := cursor{b: src}, 0
	for c.left() > 0 {
		token := c.u8()
		literals := c.lz4Length(int(token >> 4))
		run := c.take(literals)
		if c.short || len(run) > len(dst)-n {
			return false
		}
		n += copy(dst[n:], run)
		if c.left() == 0 {
			break
		}
		distance := int(c.u16())
		length := c.lz4Length(int(token&0x0F)) + shortest
		if c.short || !repeatBytes(dst, n, distance, length) {
			return false
		}
		n += length
	}
	return n == len(dst)
}

// lz4Length continues a length whose four bits are full.
func (c *cursor) lz4Length(n int) int {
	if n < 15 {
		return n
	}
	for !c.short {
		more := c.u8()
		n += int(more)
		if more != 255 {
			break
		}
	}
	return n
}

// repeatBytes writes length bytes at n that repeat those a distance before, which
// may overlap what is being written.
func repeatBytes(dst []byte, n, distance, length int) bool {
	if distance <= 0 || distance > n || length > len(dst)-n {
		return false
	}
	for i := range length {
		dst[n+i] = dst[n+i-distance]
	}
	return true
}
