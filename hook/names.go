package hook

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// RelationName is what the leader calls the relation that a file belongs to.
type RelationName struct {
	// Database is empty for relations that all databases share.
	Database string `json:"database,omitempty"`
	Schema   string `json:"schema"`
	Name     string `json:"name"`
	// Kind is "table", "index", "TOAST", "sequence" or "materialized view"; the
	// index of a TOAST table is "TOAST" as well.
	Kind string `json:"kind"`
	// Of is the table, with its schema, that an index or TOAST belongs to.
	Of string `json:"of,omitempty"`
	// System: it, or what it belongs to, is part of every PostgreSQL cluster.
	System bool `json:"system,omitempty"`
}

// Bounds of the questions for names: they are for a person to read, who does
// not read more, and does not wait longer.
const (
	mostNamed   = 1000
	namesWithin = 10 * time.Second
)

// DatabaseNames is what the leader calls a database, and the schemas in it.
type DatabaseNames struct {
	Name    string            `json:"name"`
	Schemas map[pg.Oid]string `json:"schemas,omitempty"`
}

// nameLost finds out what the files are that the plan counts lost rows by. It is
// done last, because a node must not be down for it, and it never fails: the
// files are in the plan, and whoever has no name has that.
func (r *run) nameLost(ctx context.Context) {
	if r.report.Plan == nil || r.report.Decision.Source.Name == "" {
		return
	}
	r.report.LostNames, r.report.LostPlaces = r.names(ctx, &r.report.Plan.Lost, func(ctx context.Context, fn func(Server) error) error {
		return r.withServer(ctx, r.report.Decision.Source, fn)
	})
}

// names asks the leader for the names in lost that the WAL does not tell, or
// that may have changed since.
func (r *run) names(ctx context.Context, lost *rewind.Lost, with func(context.Context, func(Server) error) error) (map[string]RelationName, map[pg.Oid]DatabaseNames) {
	files, databases := nameable(lost), unknownPlaces(lost)
	if len(files)+len(databases) == 0 || ctx.Err() != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, namesWithin)
	defer cancel()
	var found map[pg.RelFileLocator]RelationName
	var places map[pg.Oid]DatabaseNames
	err := with(ctx, func(s Server) error {
		var err1, err2 error
		if len(files) > 0 {
			found, err1 = s.RelationNames(ctx, files)
		}
		if len(databases) > 0 {
			places, err2 = s.DatabaseNames(ctx, databases)
		}
		return errors.Join(err1, err2)
	})
	if err != nil {
		r.log.Info("not all lost relations can be named", zap.Int("asked", len(files)), zap.Int("named", len(found)), zap.Error(err))
	}
	names := make(map[string]RelationName, len(found))
	for _, l := range lost.Relations {
		if name, ok := found[l.Locator]; ok && !l.Created {
			names[l.Path] = name
		}
	}
	return names, places
}

// nameable are the files whose names the leader knows for certain. Not one that
// was made behind the fork: the leader gives the same numbers out for relations
// of its own. And none of those that initdb makes, which say what they are by
// their numbers.
func nameable(lost *rewind.Lost) []pg.RelFileLocator {
	var ask []pg.RelFileLocator
	for _, l := range lost.Relations {
		if !l.Created && l.Locator.Rel >= FirstNormalOid && len(ask) < mostNamed {
			ask = append(ask, l.Locator)
		}
	}
	return ask
}

// unknownPlaces are databases of which, or of a schema in which, the WAL does not
// tell the name: the leader has them under the same numbers, for what was made
// behind the fork is named there. Where that could not be read nothing is certain.
func unknownPlaces(lost *rewind.Lost) []pg.Oid {
	if lost.UnreadChanges > 0 {
		return nil
	}
	var ask []pg.Oid
	add := func(db pg.Oid, known bool) {
		if db != 0 && !known && !slices.Contains(ask, db) && len(ask) < mostNamed {
			ask = append(ask, db)
		}
	}
	for _, c := range lost.Changes {
		add(c.Database, c.DatabaseName != "" && (c.SchemaID == 0 || c.Schema != ""))
	}
	for _, l := range lost.Relations {
		add(l.Locator.DB, l.Name == "" || l.Database != "" && l.Schema != "")
	}
	return ask
}

// FirstNormalOid is the first number that is given out after initdb
// (FirstNormalObjectId in access/transam.h). A relation file with a lower one
// is a system catalog's; some of those have higher ones.
const FirstNormalOid pg.Oid = 16384
