package rewind

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// catalogRows are rows of catalogs as the WAL has shown them so far, by where
// they lie. A record has a new row, or as much of it as differs from the old
// one, or an image of the page that all rows can be read from; the first record
// for a page after a checkpoint is of the last kind. So what is read from a
// checkpoint on names everything that it changes.
type catalogRows struct {
	rows map[rowKey]shownRow
	page []byte
	// copies are databases that were made by copying another one.
	copies map[pg.Oid]struct{}
}

// Bounds of what is kept: rows, and bytes of each. What is read of a row lies
// within its first 130 bytes; the rest is kept as far as the end of one row can be
// the end of the next.
const (
	maxCatalogRows = 20_000
	maxCatalogRow  = 512
)

type rowKey struct {
	db, catalog pg.Oid
	place       pgwal.RowPlace
}

// shownRow is a row version, and when it was seen.
type shownRow struct {
	columns []byte
	seen    pg.LSN
}

// catalogChange is a change of one row of a catalog.
type catalogChange struct {
	lsn         pg.LSN
	db, catalog pg.Oid
	kind        pgwal.RowKind
	// old and new are nil where there is none, or it could not be read.
	old, new *catalogRow
}

// catalogRow is what is read of a row; only of pg_class there is more than oid,
// name and, of functions, the schema.
type catalogRow struct {
	db, catalog pg.Oid
	pgwal.ClassRow
}

// catalogOf tells which of the catalogs lies in the file; zero for none of them.
func catalogOf(loc pg.RelFileLocator) pg.Oid {
	switch loc.Rel {
	case pgwal.CatalogClass, pgwal.CatalogSchema, pgwal.CatalogFunction, pgwal.CatalogExtension:
		if loc.DB != 0 {
			return loc.Rel
		}
	case pgwal.CatalogDatabase, pgwal.CatalogTablespace, pgwal.CatalogRole:
		if loc.DB == 0 {
			return loc.Rel
		}
	}
	return 0
}

// read takes over what the record shows of catalogs; ok is true when it changes a
// row of one.
func (c *catalogRows) read(rec *pgwal.Record) (change catalogChange, ok bool) {
	for i := range rec.Blocks {
		if b := &rec.Blocks[i]; b.HasImage && b.Fork == pg.MainFork && catalogOf(b.Locator) != 0 {
			c.readPage(rec, b)
		}
	}
	if len(rec.Blocks) == 0 || catalogOf(rec.Blocks[0].Locator) == 0 {
		return change, false
	}
	m, ok := rec.RowMove()
	if !ok {
		return change, false
	}
	loc := rec.Blocks[0].Locator
	change = catalogChange{lsn: rec.LSN, db: loc.DB, catalog: loc.Rel, kind: m.Kind}
	var old []byte
	if m.Old.Item != 0 {
		key := rowKey{loc.DB, loc.Rel, m.Old}
		old = c.rows[key].columns
		change.old = parseRow(key, old, rec.Major)
	}
	if m.New.Item != 0 {
		key := rowKey{loc.DB, loc.Rel, m.New}
		columns, own := m.Columns(old)
		if own {
			c.show(key, columns, rec.LSN+1) // newer than what its page image shows
		} else {
			columns = c.rows[key].columns
		}
		change.new = parseRow(key, columns, rec.Major)
	}
	_, copied := c.copies[loc.DB]
	return change, change.old != nil || change.new != nil || !copied
}

func (c *catalogRows) readPage(rec *pgwal.Record, b *pgwal.BlockRef) {
	if c.page == nil {
		c.page = make([]byte, blockSize)
	}
	page, ok := b.Page(c.page)
	if !ok {
		return
	}
	pgwal.PageRows(page, func(item uint16, columns []byte) {
		key := rowKey{b.Locator.DB, b.Locator.Rel, pgwal.RowPlace{Block: b.Block, Item: item}}
		if c.telling(key, columns) {
			c.show(key, columns, rec.LSN)
		}
	})
}

// telling: 15 and later write a new database into the WAL page by page, with
// thousands of relations and functions that every database has; a few of those
// would take all the room that there is for rows which tell something.
func (c *catalogRows) telling(key rowKey, columns []byte) bool {
	if _, copied := c.copies[key.db]; !copied || key.catalog == pgwal.CatalogSchema {
		return true
	}
	row, ok := pgwal.ParseNamedRow(columns)
	return ok && row.OID >= firstNormalOid
}

// firstNormalOid is the first number that is given out after initdb
// (FirstNormalObjectId in access/transam.h).
const firstNormalOid pg.Oid = 16384

// show keeps a row.
func (c *catalogRows) show(key rowKey, columns []byte, seen pg.LSN) {
	if _, had := c.rows[key]; !had && len(c.rows) >= maxCatalogRows {
		return
	}
	c.rows[key] = shownRow{slices.Clone(columns[:min(len(columns), maxCatalogRow)]), seen}
}

// parseRow reads a row; nil where it is too short.
func parseRow(key rowKey, columns []byte, major pg.Major) *catalogRow {
	row := catalogRow{db: key.db, catalog: key.catalog}
	ok := false
	if key.catalog == pgwal.CatalogClass {
		row.ClassRow, ok = pgwal.ParseClassRow(columns, major)
	} else {
		row.NamedRow, ok = pgwal.ParseNamedRow(columns)
	}
	if !ok {
		return nil
	}
	return &row
}

// transient tells whether the relation is the one that a rewrite works with, as
// make_new_heap in commands/cluster.c names it.
func (r *catalogRow) transient() bool {
	number, ok := strings.CutPrefix(r.Name, "pg_temp_")
	_, err := strconv.ParseUint(number, 10, 32)
	return ok && err == nil && r.catalog == pgwal.CatalogClass
}

// fileKey is a file within its database.
type fileKey struct{ db, rel pg.Oid }

// names are what the catalogs call things.
type names struct {
	files     map[fileKey]*catalogRow
	schemas   map[fileKey]string // by the oid of the schema
	databases map[pg.Oid]string
}

// names reads all rows that were shown, the newest of each thing last.
func (c *catalogRows) names(major pg.Major) names {
	out := names{
		files: map[fileKey]*catalogRow{}, schemas: map[fileKey]string{},
		databases: map[pg.Oid]string{1: "template1"}, // see pg_database.dat
	}
	keys := slices.SortedFunc(maps.Keys(c.rows), func(a, b rowKey) int {
		return cmp.Or(cmp.Compare(c.rows[a].seen, c.rows[b].seen), cmp.Compare(a.place.Block, b.place.Block), cmp.Compare(a.place.Item, b.place.Item))
	})
	for _, key := range keys {
		row := parseRow(key, c.rows[key].columns, major)
		if row == nil || row.transient() {
			continue
		}
		switch key.catalog {
		case pgwal.CatalogClass:
			if row.FileNode != 0 {
				out.files[fileKey{key.db, row.FileNode}] = row
			}
		case pgwal.CatalogSchema:
			out.schemas[fileKey{key.db, row.OID}] = row.Name
		case pgwal.CatalogDatabase:
			out.databases[row.OID] = row.Name
		}
	}
	return out
}

// schema is the name of a schema, if it is one of initdb's or the WAL tells.
func (n *names) schema(db, oid pg.Oid) string {
	switch oid { // see pg_namespace.dat
	case 11:
		return "pg_catalog"
	case 99:
		return "pg_toast"
	}
	if name := n.schemas[fileKey{db, oid}]; name != "" || oid != 2200 {
		return name
	}
	return "public"
}

// name fills in the names that are known.
func (c *catalogRows) name(relations []LostRelation, changes []LostChange, major pg.Major) {
	n := c.names(major)
	for i := range relations {
		r := &relations[i]
		if row := n.files[fileKey{r.Locator.DB, r.Locator.Rel}]; row != nil {
			r.Kind, r.Database, r.Name = row.word(), n.databases[r.Locator.DB], row.Name
			r.SchemaID, r.Schema = row.Schema, n.schema(r.Locator.DB, row.Schema)
		}
	}
	for i := range changes {
		c := &changes[i]
		c.Schema, c.DatabaseName = n.schema(c.Database, c.SchemaID), n.databases[c.Database]
	}
}
