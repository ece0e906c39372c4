package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// RelationName is what a server calls the relation that a file belongs to.
type RelationName struct {
	// Database is empty for relations that all databases share.
	Database string
	Schema   string
	Name     string
	// Kind is "table", "index", "TOAST", "sequence" or "materialized view"; the
	// index of a TOAST table is "TOAST" as well.
	Kind string
	// Of is the table, with its schema, that an index or TOAST belongs to.
	Of string
	// System: it, or what it belongs to, was made by initdb.
	System bool
}

// namesStatement finds relations by tablespace and file number. The index of a
// TOAST table belongs to the table whose values are stored there. Oids below
// 16384 are those of initdb (FirstNormalObjectId in access/transam.h).
const namesStatement = `SELECT r.spc, r.rel, n.nspname, c.relname,
	CASE WHEN h.oid IS NOT NULL OR c.relkind = 't' THEN 'TOAST'
	     WHEN c.relkind = 'i' THEN 'index' WHEN c.relkind = 'S' THEN 'sequence'
	     WHEN c.relkind = 'm' THEN 'materialized view' ELSE 'table' END,
	coalesce(hn.nspname || '.' || h.relname, tn.nspname || '.' || t.relname),
	coalesce(h.oid, t.oid, c.oid) < '16384'::oid
	FROM unnest($1, $2) AS r(spc, rel)
	JOIN pg_class c ON c.oid = pg_filenode_relation(r.spc::oid, r.rel::oid)
	JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_index i ON i.indexrelid = c.oid
	LEFT JOIN pg_class t ON t.oid = i.indrelid
	LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
	LEFT JOIN pg_class h ON h.reltoastrelid = coalesce(t.oid, c.oid)
	LEFT JOIN pg_namespace hn ON hn.oid = h.relnamespace`

// RelationNames asks the server which relations the files belong to now. Every
// user may ask; a database is asked over a connection of its own, with the same
// login. What is not there, or in a database that does not let the user in, is
// left out: the error says why, and comes with the names that were found.
//
// The answer is about the same relation here and there only where the file was
// there before the histories parted: after that both sides give the same
// numbers to different relations.
func (u *Upstream) RelationNames(ctx context.Context, locators []pg.RelFileLocator) (map[pg.RelFileLocator]RelationName, error) {
	found := make(map[pg.RelFileLocator]RelationName)
	byDatabase := make(map[pg.Oid][]pg.RelFileLocator)
	var order []pg.Oid
	for _, l := range locators {
		if byDatabase[l.DB] == nil {
			order = append(order, l.DB)
		}
		byDatabase[l.DB] = append(byDatabase[l.DB], l)
	}
	databases, err := u.databases(ctx)
	if err != nil {
		return found, err
	}
	var errs []error
	for _, db := range order {
		name, there := databases[db]
		if db != 0 && !there {
			continue
		}
		if err := u.namesIn(ctx, name, byDatabase[db], found); err != nil {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

// databases that can be connected to.
func (u *Upstream) databases(ctx context.Context) (map[pg.Oid]string, error) {
	rows, err := u.ask(ctx, "list the leader's databases", "SELECT oid, datname FROM pg_database WHERE datallowconn")
	if err != nil {
		return nil, err
	}
	names := make(map[pg.Oid]string, len(rows))
	for _, row := range rows {
		if n, err := strconv.ParseUint(row[0], 10, 32); err == nil {
			names[pg.Oid(n)] = row[1]
		}
	}
	return names, nil
}

// namesIn asks in one database; without a name, about what all share, which can
// be asked anywhere.
func (u *Upstream) namesIn(ctx context.Context, database string, locators []pg.RelFileLocator, found map[pg.RelFileLocator]RelationName) error {
	const op = "ask the leader for names of relations"
	spcs, rels := make([]int64, len(locators)), make([]int64, len(locators))
	for i, l := range locators {
		spcs[i], rels[i] = int64(l.Spc), int64(l.Rel)
	}
	var rows [][]string
	err := u.inDatabase(ctx, database, op, func(ses *session) (err error) {
		rows, err = ses.rows(ctx, namesStatement, int8sParam(spcs), int8sParam(rels))
		return err
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		spc, err1 := strconv.ParseUint(row[0], 10, 32)
		rel, err2 := strconv.ParseUint(row[1], 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return &rewind.Error{Op: op, Err: fmt.Errorf("%w: %w", rewind.ErrDamaged, err)}
		}
		at := pg.RelFileLocator{Spc: pg.Oid(spc), DB: locators[0].DB, Rel: pg.Oid(rel)}
		found[at] = RelationName{Database: database, Schema: row[2], Name: row[3], Kind: row[4], Of: row[5], System: row[6] == "t"}
	}
	return nil
}

// DatabaseNames is what a server calls a database, and the schemas in it.
type DatabaseNames struct {
	Name    string
	Schemas map[pg.Oid]string
}

// mostSchemas bounds the answer for one database.
const mostSchemas = 10_000

// DatabaseNames asks the server what these databases are called, and the schemas
// in them, in the way of RelationNames.
func (u *Upstream) DatabaseNames(ctx context.Context, oids []pg.Oid) (map[pg.Oid]DatabaseNames, error) {
	found := make(map[pg.Oid]DatabaseNames)
	names, err := u.databases(ctx)
	if err != nil {
		return found, err
	}
	var errs []error
	for _, db := range oids {
		name, there := names[db]
		if !there {
			continue
		}
		schemas, err := u.schemasIn(ctx, name)
		if err != nil {
			errs = append(errs, err)
		}
		found[db] = DatabaseNames{Name: name, Schemas: schemas}
	}
	return found, errors.Join(errs...)
}

// schemasIn lists the schemas of one database.
func (u *Upstream) schemasIn(ctx context.Context, database string) (schemas map[pg.Oid]string, err error) {
	err = u.inDatabase(ctx, database, "ask the leader for names of schemas", func(ses *session) error {
		rows, err := ses.rows(ctx, "SELECT oid, nspname FROM pg_namespace ORDER BY oid LIMIT "+strconv.Itoa(mostSchemas))
		schemas = make(map[pg.Oid]string, len(rows))
		for _, row := range rows {
			if n, err := strconv.ParseUint(row[0], 10, 32); err == nil {
				schemas[pg.Oid(n)] = row[1]
			}
		}
		return err
	})
	return schemas, err
}

// inDatabase runs fn with a session of its own in a database of this very server;
// without a name, in the one that is connected to anyway.
func (u *Upstream) inDatabase(ctx context.Context, database, op string, fn func(*session) error) error {
	config := u.pool.config.Copy()
	if database != "" {
		config.Database = database
	}
	ses, err := newSession(ctx, config, upstreamSilence)
	if err != nil {
		return err
	}
	defer ses.close()
	if err := u.pool.first.same(ses.server); err != nil {
		return &rewind.Error{Op: op, Err: &kindError{rewind.ErrSourceChanged, err}}
	}
	// Names come as text of the database's own encoding otherwise.
	if err := ses.exec(ctx, "SET client_encoding = 'UTF8'"); err != nil {
		return describe(op, "", err)
	}
	if err := fn(ses); err != nil {
		return describe(op, "", err)
	}
	return nil
}
