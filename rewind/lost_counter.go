package rewind

import (
	"cmp"
	"slices"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// lostCounter counts what the records behind the fork did. It is given those
// before the fork as well, from wherever the reading begins: of a transaction
// that ends behind the fork everything is lost, and rows of catalogs say what
// the later records are about.
type lostCounter struct {
	fork    pg.LSN
	major   pg.Major
	lost    Lost
	rels    map[pg.RelFileLocator]*LostRelation
	xacts   openXacts
	catalog catalogRows
	// ended are the newest transactions that ended, a ring of which next is the
	// place of the oldest.
	ended []LostTransaction
	next  int
	// files and databases that were made there.
	files       map[pg.RelFileLocator]struct{}
	fileNumbers map[fileKey]struct{}
	databases   map[pg.Oid]struct{}
}

func newLostCounter(fork pg.LSN, major pg.Major) *lostCounter {
	return &lostCounter{
		fork: fork, major: major,
		rels:    map[pg.RelFileLocator]*LostRelation{},
		xacts:   openXacts{open: map[pg.XID]*openXact{}},
		catalog: catalogRows{rows: map[rowKey]shownRow{}, copies: map[pg.Oid]struct{}{}},
		files:   map[pg.RelFileLocator]struct{}{}, fileNumbers: map[fileKey]struct{}{},
		databases: map[pg.Oid]struct{}{},
	}
}

// add takes one record into account; changed are its FileChanges.
func (l *lostCounter) add(rec *pgwal.Record, changed []pgwal.FileChange) {
	behind := rec.LSN >= l.fork
	if behind {
		l.lost.Records++
		l.count(rec)
	}
	if rec.CreatesFiles() {
		l.created(changed, behind)
	}
	if rec.EndsRecovery() {
		l.crashed(behind)
	}
	if rec.Rmgr == pgwal.RmgrTransaction {
		l.transaction(rec, behind)
		return
	}
	change, ofCatalog := l.catalog.read(rec) // also for the page images of records without a transaction
	if rec.XID == 0 {
		return
	}
	x := l.xacts.of(rec.XID, behind)
	if rec.TopXID != 0 && x != nil {
		x.top = rec.TopXID
	}
	l.rows(rec, x, behind)
	if ofCatalog && !l.xacts.hold(x, change) && behind {
		l.lost.UnreadChanges++
	}
}

// count counts a record for the relations that it names.
func (l *lostCounter) count(rec *pgwal.Record) {
	seen := pg.RelFileLocator{}
	for i := range rec.Blocks {
		if loc := rec.Blocks[i].Locator; loc != seen {
			l.rel(loc).Records++
			seen = loc
		}
	}
	if rec.Rmgr == pgwal.RmgrSequence {
		l.sequence(rec)
	}
	if db, ok := rec.RelMapUpdate(); ok {
		if _, made := l.databases[db]; !made {
			l.change(LostChange{Verb: "rewritten", Kind: "system catalogs", Database: db, XID: rec.XID})
		}
	}
}

func (l *lostCounter) sequence(rec *pgwal.Record) {
	if loc, last, ok := rec.Sequence(); ok {
		l.rel(loc).LastValue = &last
	}
}

// created notes what a record has made.
func (l *lostCounter) created(changed []pgwal.FileChange, behind bool) {
	for _, c := range changed {
		if c.Kind == pgwal.ChangeDatabase {
			l.catalog.copies[c.DB] = struct{}{}
		}
		switch {
		case !behind:
		case c.Kind == pgwal.ChangeDatabase:
			l.databases[c.DB] = struct{}{}
		case c.Fork == pg.MainFork:
			l.files[c.Locator], l.fileNumbers[fileKey{c.Locator.DB, c.Locator.Rel}] = struct{}{}, struct{}{}
		}
	}
}

// rows counts the rows that a record changes for its transaction.
func (l *lostCounter) rows(rec *pgwal.Record, x *openXact, behind bool) {
	kind, n := rec.RowChange()
	if len(rec.Blocks) == 0 {
		return
	}
	var rows LostRows
	switch kind {
	case pgwal.RowInsert:
		rows.Inserted = int64(n)
	case pgwal.RowUpdate:
		rows.Updated = int64(n)
	case pgwal.RowDelete:
		rows.Deleted = int64(n)
	default:
		return
	}
	if loc := rec.Blocks[0].Locator; !l.xacts.count(x, loc, rows) && behind {
		l.rel(loc).LostRows.Add(rows)
		l.lost.Unattributed += rows.Sum()
	}
}

// transaction takes a record of a transaction's end into account, or one that
// says whose subtransactions are whose.
func (l *lostCounter) transaction(rec *pgwal.Record, behind bool) {
	if top, subs, ok := rec.XactAssignment(); ok {
		l.xacts.assign(top, subs)
		return
	}
	end, ok, err := rec.XactEnd()
	if !ok || err != nil {
		return
	}
	if end.Kind == pgwal.XactPrepare {
		l.xacts.prepare(end, behind)
		return
	}
	x := l.xacts.end(end.XID, end.SubXIDs)
	defer l.xacts.release(x)
	if !behind {
		return
	}
	if end.Kind == pgwal.XactAbort || end.Kind == pgwal.XactAbortPrepared {
		l.lost.Aborts++
		l.ends(x, TransactionRolledBack, end.Time, func(r *LostRelation) *LostRows { return &r.RolledBack })
		return
	}
	l.lost.Commits++
	if l.lost.FirstCommit.IsZero() {
		l.lost.FirstCommit = end.Time
	}
	l.lost.LastCommit = end.Time
	for _, loc := range end.DroppedRels {
		l.rel(loc).Removed = true
	}
	copied := l.changes(x, end.Time)
	for i := range x.rows {
		if r := &x.rows[i]; slices.Contains(copied, r.loc) {
			l.rel(r.loc).Copied += r.Inserted
			x.sum.Inserted -= r.Inserted
			r.Inserted = 0
		}
	}
	l.ends(x, TransactionCommitted, end.Time, func(r *LostRelation) *LostRows { return &r.LostRows })
}

// ends books the rows of a transaction and lists it.
func (l *lostCounter) ends(x *openXact, state TransactionState, at time.Time, account func(*LostRelation) *LostRows) {
	for _, r := range x.rows {
		account(l.rel(r.loc)).Add(r.LostRows)
	}
	t := x.listed(state, at)
	if len(l.ended) < MaxLostTransactions {
		l.ended = append(l.ended, t)
		return
	}
	l.ended[l.next] = t
	l.next = (l.next + 1) % len(l.ended)
	l.lost.MoreTransactions++
}

// crashed ends all transactions but the prepared ones.
func (l *lostCounter) crashed(behind bool) {
	for _, x := range l.xacts.unfinished() {
		if x.prepared {
			continue
		}
		l.xacts.forget(x)
		if behind {
			if x.behind {
				l.lost.Aborts++
			}
			l.ends(x, TransactionRolledBack, time.Time{}, func(r *LostRelation) *LostRows { return &r.RolledBack })
		}
		l.xacts.release(x)
	}
}

// rel is the account of a relation; once there are too many, that of all the rest.
func (l *lostCounter) rel(loc pg.RelFileLocator) *LostRelation {
	r := l.rels[loc]
	switch {
	case r != nil:
		return r
	case len(l.rels) >= MaxLostRelations:
		if l.lost.Rest == nil {
			l.lost.Rest = &LostRelation{}
		}
		return l.lost.Rest
	}
	r = &LostRelation{Locator: loc, Path: pg.RelPath(loc, pg.MainFork, 0, l.major)}
	l.rels[loc] = r
	return r
}

// change lists a change of the schema.
func (l *lostCounter) change(c LostChange) {
	if len(l.lost.Changes) >= MaxLostChanges {
		l.lost.MoreChanges++
		return
	}
	l.lost.Changes = append(l.lost.Changes, c)
}

// result closes the account. Relations of which no row changed are indexes,
// and the like: they are counted in Records and listed last.
func (l *lostCounter) result(to pg.LSN) Lost {
	if to <= l.fork {
		return Lost{}
	}
	l.unfinished()
	out := l.lost
	out.From, out.To, out.Bytes = l.fork, to, int64(to-l.fork)
	for _, r := range l.rels {
		_, file := l.files[r.Locator]
		_, database := l.databases[r.Locator.DB]
		r.Created = file || database
		out.Relations = append(out.Relations, *r)
	}
	l.catalog.name(out.Relations, out.Changes, l.major)
	slices.SortFunc(out.Relations, func(a, b LostRelation) int {
		return cmp.Or(
			cmp.Compare(b.Sum(), a.Sum()),
			cmp.Compare(b.Records, a.Records),
			cmp.Compare(a.Locator.DB, b.Locator.DB),
			cmp.Compare(a.Locator.Rel, b.Locator.Rel),
			cmp.Compare(a.Locator.Spc, b.Locator.Spc))
	})
	return out
}

// unfinished books what has no end, and makes the list of transactions.
func (l *lostCounter) unfinished() {
	list := slices.Concat(l.ended[l.next:], l.ended[:l.next])
	for _, x := range l.xacts.unfinished() {
		for _, r := range x.rows {
			l.rel(r.loc).Unfinished.Add(r.LostRows)
		}
		state := TransactionOpen
		if x.prepared {
			state = TransactionPrepared
			l.lost.Prepared++
		} else if l.xacts.open[x.top] == nil {
			l.lost.Open++
		}
		list = append(list, x.listed(state, x.at))
	}
	if more := len(list) - MaxLostTransactions; more > 0 {
		list = list[more:]
		l.lost.MoreTransactions += int64(more)
	}
	l.lost.Transactions = list
}
