package main

import (
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// lost prints what only this node has.
func (p page) lost(r *hook.Report) {
	l := r.Plan.Lost
	if l.Bytes == 0 && l.Records == 0 {
		p.line("\nNothing is lost: this node wrote nothing that the leader does not have.")
		return
	}
	p.line("\nLost: what this node wrote and the leader never received")
	p.field("WAL", fmt.Sprintf("%s to %s, %s, %s records", l.From, l.To, size(l.Bytes), count(l.Records)))
	transactions := fmt.Sprintf("%s committed, %s aborted", count(l.Commits), count(l.Aborts))
	if l.Prepared > 0 {
		transactions += fmt.Sprintf(", %s prepared and not finished", count(l.Prepared))
	}
	p.field("transactions", transactions)
	if !l.FirstCommit.IsZero() {
		p.field("committed", timeRange(l.FirstCommit, l.LastCommit))
	}
	if len(l.Relations) > 0 {
		p.lostRows(sortLost(l.Relations, r.LostNames))
	}
}

// timeRange prints two times of day, and the date once when it is the same.
func timeRange(from, to time.Time) string {
	const layout = "2006-01-02 15:04:05.000 -07:00"
	if from.Equal(to) {
		return from.Format(layout)
	}
	return from.Format(layout) + " to " + to.Format(layout)
}

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
	s.Inserted += l.Inserted
	s.Updated += l.Updated
	s.Deleted += l.Deleted
	s.Records += l.Records
}

func sortLost(relations []rewind.LostRelation, names map[string]hook.RelationName) (out lostRelations) {
	for _, l := range relations {
		name, named := names[l.Path]
		switch {
		case l.Locator.Rel < hook.FirstNormalOid || name.System:
			out.catalogs.add(l)
		case name.Kind == "index" || name.Kind == "TOAST":
			out.inner.add(l)
		case l.Inserted+l.Updated+l.Deleted == 0:
			out.other.add(l)
		case named:
			out.tables = append(out.tables, lostTable{LostRelation: l, label: name.Database + " " + name.Schema + "." + name.Name})
		case l.Created:
			out.tables = append(out.tables, lostTable{LostRelation: l, label: l.Path + " (new)", unknown: true})
		default:
			out.tables = append(out.tables, lostTable{LostRelation: l, label: l.Path, unknown: true})
		}
	}
	return out
}

// lostRows prints the table.
func (p page) lostRows(lost lostRelations) {
	p.line("")
	table := [][]string{{"table", "inserted", "updated", "deleted", "WAL records"}}
	add := func(label string, l rewind.LostRelation, rows bool) {
		cells := []string{printable(label), "", "", "", count(l.Records)}
		if rows {
			cells[1], cells[2], cells[3] = count(l.Inserted), count(l.Updated), count(l.Deleted)
		}
		table = append(table, cells)
	}
	unknown := false
	for i, t := range lost.tables {
		if i < mostListed {
			add(t.label, t.LostRelation, true)
			unknown = unknown || t.unknown
		}
	}
	if len(lost.tables) > mostListed {
		var more lostSum
		for _, t := range lost.tables[mostListed:] {
			more.add(t.LostRelation)
		}
		add(fmt.Sprintf("… and %d more", more.relations), more.LostRelation, true)
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
	renderTable(p.w, table)
	p.line("  (what aborted transactions did is counted in; --output json lists every relation)")
	if unknown {
		p.line("  (by file, as on this node, where the leader cannot name it; new: made after the fork)")
	}
}
