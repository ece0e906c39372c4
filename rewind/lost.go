package rewind

import (
	"cmp"
	"slices"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// lostCounter counts what the records behind the fork did.
type lostCounter struct {
	lost     Lost
	rels     map[pg.RelFileLocator]*LostRelation
	prepared map[pg.XID]struct{}
	// files and databases that were made there.
	files     map[pg.RelFileLocator]struct{}
	databases map[pg.Oid]struct{}
}

func (l *lostCounter) add(rec *pgwal.Record) {
	l.lost.Records++
	if x, ok, err := rec.XactEnd(); ok && err == nil {
		l.transaction(x)
		return
	}
	seen := pg.RelFileLocator{}
	for i := range rec.Blocks {
		if loc := rec.Blocks[i].Locator; loc != seen {
			l.rel(loc).Records++
			seen = loc
		}
	}
	l.rows(rec)
}

// created notes what a record has made.
func (l *lostCounter) created(changed []pgwal.FileChange) {
	if l.files == nil {
		l.files, l.databases = map[pg.RelFileLocator]struct{}{}, map[pg.Oid]struct{}{}
	}
	for _, c := range changed {
		switch {
		case c.Kind == pgwal.ChangeDatabase:
			l.databases[c.DB] = struct{}{}
		case c.Fork == pg.MainFork:
			l.files[c.Locator] = struct{}{}
		}
	}
}

func (l *lostCounter) transaction(x pgwal.XactEnd) {
	switch x.Kind {
	case pgwal.XactCommit, pgwal.XactCommitPrepared:
		l.lost.Commits++
		if l.lost.FirstCommit.IsZero() {
			l.lost.FirstCommit = x.Time
		}
		l.lost.LastCommit = x.Time
	case pgwal.XactAbort, pgwal.XactAbortPrepared:
		l.lost.Aborts++
	}
	if l.prepared == nil {
		l.prepared = map[pg.XID]struct{}{}
	}
	if x.Kind == pgwal.XactPrepare {
		l.prepared[x.XID] = struct{}{}
	} else {
		delete(l.prepared, x.XID)
	}
}

func (l *lostCounter) rows(rec *pgwal.Record) {
	kind, n := rec.RowChange()
	if kind == pgwal.RowNone || len(rec.Blocks) == 0 {
		return
	}
	r := l.rel(rec.Blocks[0].Locator)
	switch kind {
	case pgwal.RowInsert:
		r.Inserted += int64(n)
	case pgwal.RowUpdate:
		r.Updated += int64(n)
	case pgwal.RowDelete:
		r.Deleted += int64(n)
	}
}

func (l *lostCounter) rel(loc pg.RelFileLocator) *LostRelation {
	r := l.rels[loc]
	if r == nil {
		if l.rels == nil {
			l.rels = map[pg.RelFileLocator]*LostRelation{}
		}
		r = &LostRelation{Locator: loc}
		l.rels[loc] = r
	}
	return r
}

// result closes the account. Relations of which no row changed are indexes,
// and the like: they are counted in Records and listed last.
func (l *lostCounter) result(from, to pg.LSN) Lost {
	out := l.lost
	out.From, out.To = from, to
	if to > from {
		out.Bytes = int64(to - from)
	} else {
		out.From, out.To = 0, 0
	}
	out.Prepared = int64(len(l.prepared))
	for _, t := range []*time.Time{&out.FirstCommit, &out.LastCommit} {
		if !t.IsZero() {
			*t = t.UTC()
		}
	}
	for _, r := range l.rels {
		_, file := l.files[r.Locator]
		_, database := l.databases[r.Locator.DB]
		r.Created = file || database
		out.Relations = append(out.Relations, *r)
	}
	slices.SortFunc(out.Relations, func(a, b LostRelation) int {
		return cmp.Or(
			cmp.Compare(b.rows(), a.rows()),
			cmp.Compare(b.Records, a.Records),
			cmp.Compare(a.Locator.DB, b.Locator.DB),
			cmp.Compare(a.Locator.Rel, b.Locator.Rel),
			cmp.Compare(a.Locator.Spc, b.Locator.Spc))
	})
	return out
}

func (r LostRelation) rows() int64 { return r.Inserted + r.Updated + r.Deleted }
