package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// lostRelations are the lost relations as a person asks for them: which rows of
// which tables? The rest is in sums.
type lostRelations struct {
	// tables are those with lost rows, most rows first.
	tables []lostTable
	// catalogs are PostgreSQL's own tables and all that belongs to them; inner
	// are indexes and TOAST of the others, whose changes follow from the
	// tables'; other is what has no rows: sequences, tables that were only
	// vacuumed, and, by file, all that nobody has named.
	catalogs, inner, other lostSum
	// rest are relations that there was no room to count one by one.
	rest *rewind.LostRelation
}

// lostTable is a table, or a file of which no name is known.
type lostTable struct {
	rewind.LostRelation
	label   string
	unknown bool
}

// lostSum adds relations up.
type lostSum struct {
	rewind.LostRelation
	relations int
}

func (s *lostSum) add(l rewind.LostRelation) {
	s.relations++
	s.LostRelation = merged(s.LostRelation, l)
}

// merged adds b's counts to a.
func merged(a, b rewind.LostRelation) rewind.LostRelation {
	a.Add(b.LostRows)
	a.RolledBack.Add(b.RolledBack)
	a.Unfinished.Add(b.Unfinished)
	a.Records += b.Records
	return a
}

// uncommitted are the rows that no committed transaction changed.
func uncommitted(l rewind.LostRelation) int64 { return l.RolledBack.Sum() + l.Unfinished.Sum() }

// label is the name of a relation, the leader's if it gave one, else that of this
// node's catalog. known is false where there is none, and the label is the file.
func (n lostNames) label(l *rewind.LostRelation) (label string, known bool) {
	if name, ok := n.relations[l.Path]; ok {
		return name.Database + " " + name.Schema + "." + name.Name, true
	}
	if l.Name != "" {
		place := n.places[l.Locator.DB]
		database := cmp.Or(l.Database, place.Name, fmt.Sprintf("database %d", l.Locator.DB))
		schema := cmp.Or(l.Schema, place.Schemas[l.SchemaID], fmt.Sprintf("schema %d", l.SchemaID))
		return database + " " + schema + "." + l.Name, true
	}
	if l.Created {
		return l.Path + " (new)", false
	}
	return l.Path, false
}

// sortLost puts every relation where it is shown. The files of a table that has
// had several are one line.
func sortLost(l *rewind.Lost, names lostNames) (out lostRelations) {
	out.rest = l.Rest
	byLabel := map[string]int{}
	for i := range l.Relations {
		r := l.Relations[i]
		name := names.relations[r.Path]
		kind := cmp.Or(name.Kind, r.Kind)
		switch {
		case r.Locator.Rel < hook.FirstNormalOid || name.System:
			out.catalogs.add(r)
			continue
		case kind == "index" || kind == "TOAST":
			out.inner.add(r)
			continue
		case r.Sum()+uncommitted(r) == 0:
			out.other.add(r)
			continue
		}
		label, known := names.label(&r)
		if at, seen := byLabel[label]; seen {
			out.tables[at].LostRelation = merged(out.tables[at].LostRelation, r)
			continue
		}
		byLabel[label] = len(out.tables)
		out.tables = append(out.tables, lostTable{LostRelation: r, label: label, unknown: !known})
	}
	slices.SortStableFunc(out.tables, func(a, b lostTable) int { return cmp.Compare(b.Sum(), a.Sum()) })
	return out
}

// lostRows prints the table.
func (p page) lostRows(lost lostRelations, v lostView) {
	table := [][]string{{"table", "inserted", "updated", "deleted", "not committed", "WAL records"}}
	anyUncommitted := false
	add := func(label string, l rewind.LostRelation, rows bool) {
		cells := []string{printable(label), "", "", "", "", count(l.Records)}
		if rows {
			cells[1], cells[2], cells[3], cells[4] = count(l.Inserted), count(l.Updated), count(l.Deleted), count(uncommitted(l))
			anyUncommitted = anyUncommitted || uncommitted(l) > 0
		}
		table = append(table, cells)
	}
	shown := v.cut(len(lost.tables))
	unknown := false
	for _, t := range lost.tables[:shown] {
		add(t.label, t.LostRelation, true)
		unknown = unknown || t.unknown
	}
	var more lostSum
	for _, t := range lost.tables[shown:] {
		more.add(t.LostRelation)
	}
	if more.relations > 0 {
		add(fmt.Sprintf("… and %d more", more.relations), more.LostRelation, true)
	}
	if lost.rest != nil {
		add("relations that were not counted one by one", *lost.rest, true)
	}
	for _, sum := range []struct {
		label string
		lostSum
		rows bool
	}{
		{"system catalogs", lost.catalogs, true},
		{"indexes and TOAST", lost.inner, false},
		{"without rows", lost.other, false},
	} {
		if sum.relations > 0 {
			add(fmt.Sprintf("%s (%d)", sum.label, sum.relations), sum.LostRelation, sum.rows)
		}
	}
	if !anyUncommitted {
		for i, row := range table {
			table[i] = slices.Delete(row, 4, 5)
		}
	}
	p.line("")
	renderTable(p.w, table)
	p.line("  (--output json lists every relation)")
	if unknown {
		p.line("  (by file, as on this node, where the leader cannot name it; new: made after the fork)")
	}
}
