package hook

import (
	"context"
	"time"

	"go.uber.org/zap"

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

// nameLost finds out what the files are that the plan counts lost rows by. It is
// done last, because a node must not be down for it, and it never fails: the
// files are in the plan, and whoever has no name has that.
func (r *run) nameLost(ctx context.Context) {
	ask := r.nameable()
	if len(ask) == 0 || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, namesWithin)
	defer cancel()
	var names map[pg.RelFileLocator]RelationName
	err := r.withServer(ctx, r.report.Decision.Source, func(s Server) (err error) {
		names, err = s.RelationNames(ctx, ask)
		return err
	})
	if err != nil {
		r.log.Info("not all lost relations can be named", zap.Int("asked", len(ask)), zap.Int("named", len(names)), zap.Error(err))
	}
	r.report.LostNames = make(map[string]RelationName, len(names))
	for _, l := range r.report.Plan.Lost.Relations {
		if name, ok := names[l.Locator]; ok && !l.Created {
			r.report.LostNames[l.Path] = name
		}
	}
}

// nameable are the files whose names the leader knows for certain. Not one that
// was made behind the fork: the leader gives the same numbers out for relations
// of its own. And none of those that initdb makes, which say what they are by
// their numbers.
func (r *run) nameable() []pg.RelFileLocator {
	if r.report.Plan == nil || r.report.Decision.Source.Name == "" {
		return nil
	}
	var ask []pg.RelFileLocator
	for _, l := range r.report.Plan.Lost.Relations {
		if !l.Created && l.Locator.Rel >= FirstNormalOid && len(ask) < mostNamed {
			ask = append(ask, l.Locator)
		}
	}
	return ask
}

// FirstNormalOid is the first number that is given out after initdb
// (FirstNormalObjectId in access/transam.h). A relation file with a lower one
// is a system catalog's; some of those have higher ones.
const FirstNormalOid pg.Oid = 16384
