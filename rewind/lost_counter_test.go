package rewind

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// Records as the reader gives them, with as much in them as counting looks at.

func change(lsn pg.LSN, xid pg.XID, rel pg.Oid, op uint8) *pgwal.Record {
	return &pgwal.Record{LSN: lsn, End: lsn + 8, Major: 15, XID: xid, Rmgr: pgwal.RmgrHeap, Info: op,
		Blocks: []pgwal.BlockRef{{Locator: pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: rel}}}, Main: make([]byte, 16)}
}

func inserts(lsn pg.LSN, xid pg.XID, rel pg.Oid) *pgwal.Record { return change(lsn, xid, rel, 0x00) }

// ends is a commit (0x00) or abort (0x20) with subtransactions.
func ends(lsn pg.LSN, xid pg.XID, op uint8, subs ...pg.XID) *pgwal.Record {
	var b bytes.Buffer
	for _, v := range []any{int64(1), uint32(1 << 1), uint32(len(subs)), subs} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err) // it cannot fail
		}
	}
	return &pgwal.Record{LSN: lsn, End: lsn + 8, Major: 15, XID: xid, Rmgr: pgwal.RmgrTransaction, Info: op | 0x80, Main: b.Bytes()}
}

const (
	commits = 0x00
	aborts  = 0x20
)

func counted(records ...*pgwal.Record) Lost {
	l := newLostCounter(1000, 15)
	for _, r := range records {
		l.add(r, nil)
	}
	return l.result(5000)
}

// TestLostAccounts: whose rows are lost, by where they were written and how
// their transaction ended.
func TestLostAccounts(t *testing.T) {
	rows := func(n int64) LostRows { return LostRows{Inserted: n} }
	shutdown := func(lsn pg.LSN) *pgwal.Record {
		return &pgwal.Record{LSN: lsn, End: lsn + 8, Major: 15, Rmgr: pgwal.RmgrXLOG}
	}
	for name, c := range map[string]struct {
		records                           []*pgwal.Record
		committed, rolledBack, unfinished int64
		commits, aborts, open             int64
	}{
		"before the fork":           {records: []*pgwal.Record{inserts(900, 7, 1), ends(908, 7, commits)}},
		"behind it":                 {records: []*pgwal.Record{inserts(1000, 7, 1), ends(1008, 7, commits)}, committed: 1, commits: 1},
		"over it":                   {records: []*pgwal.Record{inserts(900, 7, 1), inserts(1000, 7, 1), ends(1008, 7, commits)}, committed: 2, commits: 1},
		"all before, ended behind":  {records: []*pgwal.Record{inserts(900, 7, 1), ends(1008, 7, commits)}, committed: 1, commits: 1},
		"rolled back":               {records: []*pgwal.Record{inserts(1000, 7, 1), ends(1008, 7, aborts)}, rolledBack: 1, aborts: 1},
		"open":                      {records: []*pgwal.Record{inserts(1000, 7, 1)}, unfinished: 1, open: 1},
		"with subtransactions":      {records: []*pgwal.Record{inserts(1000, 8, 1), inserts(1008, 9, 1), inserts(1016, 7, 1), ends(1024, 7, commits, 8, 9)}, committed: 3, commits: 1},
		"a savepoint rolled back":   {records: []*pgwal.Record{inserts(1000, 8, 1), ends(1008, 8, aborts), inserts(1016, 7, 1), ends(1024, 7, commits)}, committed: 1, rolledBack: 1, commits: 1, aborts: 1},
		"two at a time":             {records: []*pgwal.Record{inserts(1000, 8, 1), inserts(1008, 7, 1), ends(1016, 8, commits), ends(1024, 7, aborts)}, committed: 1, rolledBack: 1, commits: 1, aborts: 1},
		"crashed behind the fork":   {records: []*pgwal.Record{inserts(1000, 7, 1), shutdown(1008)}, rolledBack: 1, aborts: 1},
		"crashed before the fork":   {records: []*pgwal.Record{inserts(900, 7, 1), shutdown(908), inserts(1000, 8, 1), ends(1008, 8, commits)}, committed: 1, commits: 1},
		"the same number once more": {records: []*pgwal.Record{inserts(1000, 7, 1), ends(1008, 7, aborts), inserts(1016, 7, 1), ends(1024, 7, commits)}, committed: 1, rolledBack: 1, commits: 1, aborts: 1},
	} {
		got := counted(c.records...)
		var r LostRelation
		for _, rel := range got.Relations {
			r.Add(rel.LostRows)
			r.RolledBack.Add(rel.RolledBack)
			r.Unfinished.Add(rel.Unfinished)
		}
		want := LostRelation{LostRows: rows(c.committed), RolledBack: rows(c.rolledBack), Unfinished: rows(c.unfinished)}
		if d := cmp.Diff(want, r); d != "" || got.Commits != c.commits || got.Aborts != c.aborts || got.Open != c.open {
			t.Errorf("%s: %d commits, %d aborts, %d open (-want +got):\n%s", name, got.Commits, got.Aborts, got.Open, d)
		}
		var listed LostRows
		for _, x := range got.Transactions {
			listed.Add(x.LostRows)
		}
		if all := c.committed + c.rolledBack + c.unfinished; listed.Sum() != all {
			t.Errorf("%s: %d rows in the list of transactions, want %d", name, listed.Sum(), all)
		}
	}
}

// TestLostBounds: what finds no room is counted, and nothing is lost of the sums.
func TestLostBounds(t *testing.T) {
	l := newLostCounter(1000, 15)
	lsn := pg.LSN(1000)
	add := func(r *pgwal.Record) {
		l.add(r, nil)
		lsn += 8
	}
	const relations, transactions = MaxLostRelations + 5, MaxLostTransactions + 7
	for i := range relations {
		add(inserts(lsn, pg.XID(10+i%transactions), pg.Oid(20000+i)))
	}
	for i := range transactions {
		add(ends(lsn, pg.XID(10+i), commits))
	}
	if l.xacts.rows != 0 || len(l.xacts.open) != 0 {
		t.Errorf("%d rows of %d transactions are held after all have ended", l.xacts.rows, len(l.xacts.open))
	}
	for range MaxLostChanges + 3 {
		l.change(LostChange{Verb: "created"})
	}
	got := l.result(lsn)
	var sum LostRows
	for _, r := range got.Relations {
		sum.Add(r.LostRows)
	}
	if len(got.Relations) != MaxLostRelations || got.Rest == nil || got.Rest.Inserted != 5 || sum.Inserted+got.Rest.Inserted != relations {
		t.Errorf("%d relations with %d rows, rest %+v", len(got.Relations), sum.Inserted, got.Rest)
	}
	if len(got.Transactions) != MaxLostTransactions || got.MoreTransactions != 7 || got.Transactions[0].XID != 10+7 || got.Transactions[MaxLostTransactions-1].XID != 10+transactions-1 {
		t.Errorf("%d transactions from %d on, %d more", len(got.Transactions), got.Transactions[0].XID, got.MoreTransactions)
	}
	if len(got.Changes) != MaxLostChanges || got.MoreChanges != 3 {
		t.Errorf("%d changes, %d more", len(got.Changes), got.MoreChanges)
	}
}

// TestLostTooManyOpen: rows of transactions that there is no room for count as
// committed, and it is said how many they are.
func TestLostTooManyOpen(t *testing.T) {
	l := newLostCounter(1000, 15)
	for i := range maxOpenXacts + 3 {
		l.add(inserts(pg.LSN(1000+8*i), pg.XID(10+i), 20000), nil)
	}
	got := l.result(pg.LSN(1000 + 8*(maxOpenXacts+3)))
	if got.Unattributed != 3 || got.Open != maxOpenXacts || len(got.Relations) != 1 || got.Relations[0].Inserted != 3 || got.Relations[0].Unfinished.Inserted != maxOpenXacts {
		t.Errorf("%d not attributed, %d open, %+v", got.Unattributed, got.Open, got.Relations)
	}
	if len(got.Transactions) != MaxLostTransactions || got.MoreTransactions != maxOpenXacts-MaxLostTransactions {
		t.Errorf("%d transactions, %d more", len(got.Transactions), got.MoreTransactions)
	}
}

// TestLostCopiedCatalogs: of a database that is copied into the WAL page by page
// only what users have made takes room.
func TestLostCopiedCatalogs(t *testing.T) {
	c := catalogRows{copies: map[pg.Oid]struct{}{16500: {}}}
	row := func(oid uint32) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, oid), make([]byte, 64)...)
	}
	for _, tt := range []struct {
		db, catalog pg.Oid
		oid         uint32
		want        bool
	}{
		{5, pgwal.CatalogClass, 1259, true}, {16500, pgwal.CatalogClass, 1259, false}, {16500, pgwal.CatalogFunction, 1242, false},
		{16500, pgwal.CatalogClass, 16384, true}, {16500, pgwal.CatalogSchema, 2200, true},
	} {
		if got := c.telling(rowKey{db: tt.db, catalog: tt.catalog}, row(tt.oid)); got != tt.want {
			t.Errorf("oid %d of catalog %d in database %d: %t, want %t", tt.oid, tt.catalog, tt.db, got, tt.want)
		}
	}
}
