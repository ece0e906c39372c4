package rewind

import (
	"cmp"
	"slices"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// Kinds of relations (RELKIND_* in catalog/pg_class.h), and what else has a name.
func (r *catalogRow) word() string {
	switch r.catalog {
	case pgwal.CatalogSchema:
		return "schema"
	case pgwal.CatalogDatabase:
		return "database"
	case pgwal.CatalogTablespace:
		return "tablespace"
	case pgwal.CatalogRole:
		return "role"
	case pgwal.CatalogFunction:
		return "function"
	case pgwal.CatalogExtension:
		return "extension"
	}
	switch r.Kind {
	case 'i', 'I':
		return "index"
	case 'S':
		return "sequence"
	case 'v':
		return "view"
	case 'm':
		return "materialized view"
	case 'f':
		return "foreign table"
	case 'c':
		return "type"
	case 't':
		return "TOAST"
	}
	return "table"
}

// object is one thing that a transaction changed: what it was at first and at
// last, as far as that could be read.
type object struct {
	first, last      *catalogRow
	made, gone       bool
	db, catalog, oid pg.Oid
	// blind: what it was at first could not be read. newFile: the file that it
	// has at last was made behind the fork.
	blind, newFile bool
}

// changes says what a committed transaction did to the schema, and which files
// it filled by rewriting a table.
func (l *lostCounter) changes(x *openXact, at time.Time) (copied []pg.RelFileLocator) {
	if len(x.read) == 0 {
		return nil
	}
	objects := l.objects(x)
	rewrite, replaced := false, false
	for _, o := range objects {
		rewrite = rewrite || o.made && o.gone && o.first != nil && o.first.transient()
		replaced = replaced || o.replaced() && o.last.word() != "index"
	}
	for _, o := range objects {
		verb := o.verb(rewrite)
		if verb == "rewritten" {
			copied = append(copied, o.files(x)...)
		}
		if verb == "" || o.hidden() || verb == "rebuilt" && replaced {
			continue
		}
		l.change(o.change(verb, x.xid, at))
	}
	return copied
}

// objects sorts the changes of rows by the things that they are about, in the
// order in which they were first touched.
func (l *lostCounter) objects(x *openXact) []*object {
	type key struct{ db, catalog, oid pg.Oid }
	slices.SortFunc(x.read, func(a, b catalogChange) int { return cmp.Compare(a.lsn, b.lsn) })
	byKey := map[key]*object{}
	var list []*object
	for i := range x.read {
		c := &x.read[i]
		row := cmp.Or(c.new, c.old)
		if row == nil {
			l.lost.UnreadChanges++
			continue
		}
		k := key{c.db, c.catalog, row.OID}
		o := byKey[k]
		if o == nil {
			o = &object{db: c.db, catalog: c.catalog, oid: row.OID, first: cmp.Or(c.old, c.new), made: c.kind == pgwal.RowInsert}
			o.blind = !o.made && c.old == nil
			byKey[k], list = o, append(list, o)
		}
		o.last, o.gone = row, c.kind == pgwal.RowDelete
	}
	for _, o := range list {
		_, o.newFile = l.fileNumbers[fileKey{o.db, o.last.FileNode}]
		if o.blind && !o.replaced() {
			l.lost.UnreadChanges++
		}
	}
	return list
}

// hidden: TOAST goes with its table, and temporary relations with their session.
func (o *object) hidden() bool {
	return o.catalog == pgwal.CatalogClass && (o.last.Kind == 't' || o.last.Schema == toastSchema || o.last.Persistence == 't' || o.last.transient())
}

// toastSchema is pg_toast (pg_namespace.dat).
const toastSchema pg.Oid = 99

// replaced tells whether a relation that was there before has another file now.
func (o *object) replaced() bool {
	if o.made || o.gone || o.catalog != pgwal.CatalogClass {
		return false
	}
	return o.first.FileNode != o.last.FileNode || o.blind && o.newFile
}

// verb says what became of it, in the words of LostChange.Verb; empty where
// nothing is worth a word. rewrite: the transaction rewrote a table.
func (o *object) verb(rewrite bool) string {
	switch {
	case o.made && o.gone:
		return ""
	case o.made:
		return "created"
	case o.gone:
		return "dropped"
	case o.first.Name != o.last.Name:
		return "renamed"
	case o.first.Schema != o.last.Schema, o.first.Tablespace != o.last.Tablespace:
		return "moved"
	case o.replaced():
		return o.replacement(rewrite)
	case o.first.Attributes < o.last.Attributes:
		return "altered"
	}
	return ""
}

// replacement: what has got a new file was filled anew, or emptied.
func (o *object) replacement(rewrite bool) string {
	switch o.last.word() {
	case "index":
		return "rebuilt"
	case "sequence":
		return "altered"
	}
	if rewrite {
		return "rewritten"
	}
	return "emptied"
}

// files are the files of the object that the transaction wrote rows to.
func (o *object) files(x *openXact) (files []pg.RelFileLocator) {
	for _, r := range x.rows {
		if r.loc.DB == o.db && r.loc.Rel == o.last.FileNode {
			files = append(files, r.loc)
		}
	}
	return files
}

func (o *object) change(verb string, xid pg.XID, at time.Time) LostChange {
	c := LostChange{
		Verb: verb, Kind: o.last.word(), Database: o.db, SchemaID: o.last.Schema,
		OID: o.oid, Name: o.last.Name, XID: xid, Time: at,
	}
	if verb == "renamed" {
		c.Name, c.NewName = o.first.Name, o.last.Name
	}
	return c
}
