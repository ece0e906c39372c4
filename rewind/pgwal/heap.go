package pgwal

import (
	"bytes"
	"encoding/binary"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// RowPlace is where a row version lies (ItemPointer in storage/itemptr.h).
type RowPlace struct {
	Block pg.BlockNo
	// Item counts from 1; zero for no place.
	Item uint16
}

// RowMove is what a record says of one row of a heap: where the old version lies
// and where the new one, and the new one's columns as far as the record has them.
type RowMove struct {
	Kind RowKind
	// Old is set for updates and deletes, New for inserts and updates.
	Old, New RowPlace
	// OldBlock is the old version's page in Record.Blocks; the new one's is the first.
	OldBlock int

	// own are the columns that are in the record, between as many bytes of the old
	// version's as prefix and suffix say; nil where only the page image has them.
	own            []byte
	prefix, suffix int
}

// Flags of an update (XLH_UPDATE_* in access/heapam_xlog.h).
const (
	updatePrefixFromOld = 0x20
	updateSuffixFromOld = 0x40
)

// heapHeaderSize is where a row's bitmap of nulls begins
// (SizeofHeapTupleHeader in access/htup_details.h).
const heapHeaderSize = 23

// RowMove reads an insert, update or delete of a single row (xl_heap_insert,
// xl_heap_update and xl_heap_delete in access/heapam_xlog.h, 13 to 18); ok is
// false for all other records, and for one that is cut off.
func (r *Record) RowMove() (m RowMove, ok bool) {
	if r.Rmgr != RmgrHeap || len(r.Blocks) == 0 {
		return m, false
	}
	c := cursor{b: r.Main}
	switch r.Info & heapOpMask {
	case opHeapInsert:
		m.Kind = RowInsert
		m.New = RowPlace{r.Blocks[0].Block, c.u16()}
		m.decodeRow(&cursor{b: r.Blocks[0].Data}, 0)
	case opHeapDelete:
		m.Kind = RowDelete
		c.u32() // xmax
		m.Old = RowPlace{r.Blocks[0].Block, c.u16()}
	case opHeapUpdate, opHeapHotUpdate:
		m.Kind = RowUpdate
		if len(r.Blocks) > 1 && r.Blocks[1].ID == 1 {
			m.OldBlock = 1 // else the new version is on the same page
		}
		c.u32() // the old version's xmax
		m.Old = RowPlace{r.Blocks[m.OldBlock].Block, c.u16()}
		c.u8() // bits of the old version
		flags := c.u8()
		c.u32() // the new version's xmax
		m.New = RowPlace{r.Blocks[0].Block, c.u16()}
		m.decodeRow(&cursor{b: r.Blocks[0].Data}, flags)
	default:
		return m, false
	}
	return m, !c.short
}

// decodeRow reads the lengths of what is like the old version's, xl_heap_header,
// the bitmap of nulls, and the columns.
func (m *RowMove) decodeRow(c *cursor, flags uint8) {
	if c.left() == 0 {
		return
	}
	if flags&updatePrefixFromOld != 0 {
		m.prefix = int(c.u16())
	}
	if flags&updateSuffixFromOld != 0 {
		m.suffix = int(c.u16())
	}
	c.take(4) // infomasks
	c.take(int(c.u8()) - heapHeaderSize)
	if !c.short {
		m.own = c.b
	}
}

// Columns puts the new version's columns together, from the old version's where
// the record needs them; ok is false where neither has them.
func (m *RowMove) Columns(old []byte) (columns []byte, ok bool) {
	if m.own == nil || m.prefix > len(old) || m.suffix > len(old)-m.prefix {
		return nil, false
	}
	columns = make([]byte, 0, m.prefix+len(m.own)+m.suffix)
	columns = append(columns, old[:m.prefix]...)
	columns = append(columns, m.own...)
	return append(columns, old[len(old)-m.suffix:]...), true
}

// PageRows calls fn for every row version on a heap page, with its number and its
// columns, which lie in page (storage/bufpage.h). Line pointers that lead out of
// the page are passed over.
func PageRows(page []byte, fn func(item uint16, columns []byte)) {
	const header, normal = 24, 1
	if len(page) < header {
		return
	}
	lower := min(int(binary.LittleEndian.Uint16(page[12:])), len(page))
	for at := header; at+4 <= lower; at += 4 {
		id := binary.LittleEndian.Uint32(page[at:])
		start, size := int(id&0x7FFF), int(id>>17)
		if id>>15&3 != normal || start+size > len(page) {
			continue
		}
		if columns, ok := tupleColumns(page[start : start+size]); ok {
			fn(uint16((at-header)/4+1), columns)
		}
	}
}

// tupleColumns cuts header and bitmap off a whole row version.
func tupleColumns(tuple []byte) ([]byte, bool) {
	if len(tuple) < heapHeaderSize {
		return nil, false
	}
	off := int(tuple[22])
	if off < heapHeaderSize || off > len(tuple) {
		return nil, false
	}
	return tuple[off:], true
}

// The catalogs whose rows begin with an oid and a name, by the file numbers that
// initdb gives them; VACUUM FULL of a catalog changes its number.
const (
	CatalogFunction   pg.Oid = 1255 // pg_proc
	CatalogClass      pg.Oid = 1259 // pg_class
	CatalogSchema     pg.Oid = 2615 // pg_namespace
	CatalogExtension  pg.Oid = 3079 // pg_extension
	CatalogRole       pg.Oid = 1260 // pg_authid, shared
	CatalogDatabase   pg.Oid = 1262 // pg_database, shared
	CatalogTablespace pg.Oid = 1213 // pg_tablespace, shared
)

// nameSize is NAMEDATALEN.
const nameSize = 64

// NamedRow is what the rows of all those catalogs begin with.
type NamedRow struct {
	OID  pg.Oid
	Name string
}

// ParseNamedRow reads the columns of such a row; ok is false where they are too
// few, or the oid is invalid.
func ParseNamedRow(columns []byte) (row NamedRow, ok bool) {
	c := cursor{b: columns}
	row.OID = c.oid()
	name, _, _ := bytes.Cut(c.take(nameSize), []byte{0})
	row.Name = string(name)
	return row, !c.short && row.OID != 0
}

// ClassRow is the part of a row of pg_class that says which relation lies in
// which file.
type ClassRow struct {
	NamedRow
	Schema pg.Oid
	// FileNode is the number of its file; zero for views, and for catalogs whose
	// numbers are kept elsewhere.
	FileNode pg.Oid
	// Tablespace is zero for the database's own.
	Tablespace  pg.Oid
	Persistence byte // 'p', 'u'nlogged, 't'emporary
	Kind        byte // RELKIND_* in catalog/pg_class.h
	// Attributes counts the columns, those that were dropped included.
	Attributes uint16
}

// ParseClassRow reads the columns of a row of pg_class (FormData_pg_class in
// catalog/pg_class.h, 13 to 18: 18 has one column more in the middle).
func ParseClassRow(columns []byte, major pg.Major) (row ClassRow, ok bool) {
	row.NamedRow, ok = ParseNamedRow(columns)
	if !ok {
		return row, false
	}
	c := cursor{b: columns[4+nameSize:]}
	row.Schema = c.oid()
	c.take(4 * 4) // row type, type of a typed table, owner, access method
	row.FileNode, row.Tablespace = c.oid(), c.oid()
	c.take(3 * 4) // pages, rows, all-visible pages
	if major >= 18 {
		c.take(4) // all-frozen pages
	}
	c.take(4) // TOAST table
	c.take(2) // has an index, is shared
	row.Persistence, row.Kind = c.u8(), c.u8()
	row.Attributes = c.u16()
	return row, !c.short
}
