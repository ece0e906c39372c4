package rewind

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgwal"
)

// What is kept of transactions whose end is not known yet.
const (
	maxOpenXacts = 100_000
	maxHeldRows  = 200_000 // pairs of a transaction and a relation
	maxHeldRead  = 20_000  // changed rows of catalogs
)

// openXacts are the transactions whose end is not known yet. A subtransaction
// has an entry of its own until its transaction's end says whose it is.
type openXacts struct {
	open       map[pg.XID]*openXact
	last       *openXact // the one that was asked for last
	rows, read int       // how much all of them hold
	free       []*openXact
}

// openXact is what a transaction has done so far.
type openXact struct {
	xid  pg.XID
	rows []heldRows
	sum  LostRows
	read []catalogChange
	// index finds a relation in rows, once there are many.
	index map[pg.RelFileLocator]int
	// before and behind: it has written on that side of the fork.
	before, behind bool
	// top is the transaction that it is a part of, where that is known.
	top pg.XID
	// prepared at a time, under a name, with parts as its subtransactions.
	prepared bool
	at       time.Time
	gid      string
	parts    []pg.XID
}

// heldRows are the rows of one relation.
type heldRows struct {
	loc pg.RelFileLocator
	LostRows
}

// of finds the entry of a transaction that writes, or makes it; nil where there
// are too many.
func (o *openXacts) of(xid pg.XID, behind bool) *openXact {
	x := o.last
	if x == nil || x.xid != xid {
		x = o.open[xid]
	}
	if x == nil {
		if len(o.open) >= maxOpenXacts {
			return nil
		}
		x = o.alloc()
		x.xid = xid
		o.open[xid] = x
	}
	o.last = x
	x.before, x.behind = x.before || !behind, x.behind || behind
	return x
}

func (o *openXacts) alloc() *openXact {
	if n := len(o.free); n > 0 {
		x := o.free[n-1]
		o.free = o.free[:n-1]
		return x
	}
	return new(openXact)
}

// manyHeld is from how many relations on a transaction has an index of them.
const manyHeld = 16

// count adds rows to what x holds; false where there is no room.
func (o *openXacts) count(x *openXact, loc pg.RelFileLocator, rows LostRows) bool {
	if x == nil {
		return false
	}
	i := x.find(loc)
	if i < 0 {
		if o.rows >= maxHeldRows {
			return false
		}
		o.rows++
		i = x.put(loc)
	}
	x.rows[i].Add(rows)
	x.sum.Add(rows)
	return true
}

func (x *openXact) find(loc pg.RelFileLocator) int {
	if x.index != nil {
		if i, ok := x.index[loc]; ok {
			return i
		}
		return -1
	}
	for i := len(x.rows) - 1; i >= 0; i-- {
		if x.rows[i].loc == loc {
			return i
		}
	}
	return -1
}

func (x *openXact) put(loc pg.RelFileLocator) int {
	x.rows = append(x.rows, heldRows{loc: loc})
	if x.index == nil && len(x.rows) > manyHeld {
		x.index = make(map[pg.RelFileLocator]int)
		for i, r := range x.rows {
			x.index[r.loc] = i
		}
	}
	if x.index != nil {
		x.index[loc] = len(x.rows) - 1
	}
	return len(x.rows) - 1
}

// hold keeps a change of a catalog's row; false where there is no room.
func (o *openXacts) hold(x *openXact, c catalogChange) bool {
	if x == nil || o.read >= maxHeldRead {
		return false
	}
	o.read++
	x.read = append(x.read, c)
	return true
}

// assign says whose subtransactions these are.
func (o *openXacts) assign(top pg.XID, subs []pg.XID) {
	for _, xid := range subs {
		if x := o.open[xid]; x != nil {
			x.top = top
		}
	}
}

// prepare puts a transaction and its parts together under its name.
func (o *openXacts) prepare(end pgwal.XactEnd, behind bool) {
	x := o.end(end.XID, end.SubXIDs)
	x.prepared, x.at, x.gid, x.parts = true, end.Time, end.GID, end.SubXIDs
	x.before, x.behind = x.before || !behind, x.behind || behind
	if len(o.open) < maxOpenXacts {
		o.open[x.xid] = x
		return
	}
	o.release(x)
}

// end takes a transaction and its parts out, as one. Release gives it back.
func (o *openXacts) end(xid pg.XID, subs []pg.XID) *openXact {
	x := o.open[xid]
	if x == nil {
		x = o.alloc()
		x.xid = xid
	}
	o.forget(x)
	for _, sub := range subs {
		s := o.open[sub]
		if s == nil {
			continue
		}
		o.forget(s)
		had := len(x.rows)
		x.merge(s)
		o.rows -= len(s.rows) - (len(x.rows) - had)
		s.rows, s.read = s.rows[:0], s.read[:0] // they are x's now
		o.release(s)
	}
	return x
}

func (o *openXacts) forget(x *openXact) {
	delete(o.open, x.xid)
	o.last = nil
}

// merge adds what a part did.
func (x *openXact) merge(s *openXact) {
	for _, r := range s.rows {
		i := x.find(r.loc)
		if i < 0 {
			i = x.put(r.loc)
		}
		x.rows[i].Add(r.LostRows)
	}
	x.sum.Add(s.sum)
	x.read = append(x.read, s.read...)
	x.before, x.behind = x.before || s.before, x.behind || s.behind
}

// release gives the memory of a transaction that was taken out back.
func (o *openXacts) release(x *openXact) {
	o.rows -= len(x.rows)
	o.read -= len(x.read)
	if cap(x.rows) > manyHeld || cap(x.read) > manyHeld || len(o.free) >= 1000 {
		return
	}
	*x = openXact{rows: x.rows[:0], read: x.read[:0]}
	clear(x.read[:cap(x.read)])
	o.free = append(o.free, x)
}

// unfinished are all that have no end yet, oldest first.
func (o *openXacts) unfinished() []*openXact {
	return slices.SortedFunc(maps.Values(o.open), func(a, b *openXact) int {
		return cmp.Compare(int32(a.xid-b.xid), 0)
	})
}

// listed is the transaction as it is shown.
func (x *openXact) listed(state TransactionState, at time.Time) LostTransaction {
	return LostTransaction{XID: x.xid, State: state, Time: at, GID: x.gid, LostRows: x.sum, BeganBefore: x.before}
}
