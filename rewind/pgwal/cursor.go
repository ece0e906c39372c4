package pgwal

import (
	"encoding/binary"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// cursor reads little-endian numbers one after the other. Behind the end it
// reads zeros and remembers that it did, so that a decoder checks once.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) left() int { return len(c.b) }

// take returns the next n bytes; nil when there are fewer.
func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.b, c.short = nil, true
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u8() uint8 {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if p := c.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if p := c.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if p := c.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (c *cursor) oid() pg.Oid { return pg.Oid(c.u32()) }

// locatorSize is the size of RelFileNode, and of RelFileLocator from 16 on.
const locatorSize = 12

func (c *cursor) locator() pg.RelFileLocator {
	return pg.RelFileLocator{Spc: c.oid(), DB: c.oid(), Rel: c.oid()}
}

// count reads the length of an array of items of the given size; one that does
// not fit into what is left is zero and makes the cursor short.
func (c *cursor) count(itemSize int) int {
	n := int64(int32(c.u32()))
	if n < 0 || n*int64(itemSize) > int64(len(c.b)) {
		c.b, c.short = nil, true
		return 0
	}
	return int(n)
}
