package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// lostView is how much of what is lost is shown.
type lostView struct {
	// limit is the number of lines of each list, 0 for all.
	limit int
	// transactions: list them, too.
	transactions bool
}

// cut tells how many of n lines are shown.
func (v lostView) cut(n int) int {
	if v.limit == 0 {
		return n
	}
	return min(n, v.limit)
}

// lostNames are the names that the leader gave.
type lostNames struct {
	relations map[string]hook.RelationName
	places    map[pg.Oid]hook.DatabaseNames
}

// renderLost prints the answer of the command lost.
func renderLost(w io.Writer, r *hook.LostReport, v lostView) {
	p := page{w}
	who := cmp.Or(r.Member, "this node")
	if r.Salvage {
		who += ", in salvaged WAL"
	}
	p.line("What only %s has", who)
	p.line("")
	p.field("directory", printable(r.Directory))
	p.field("cluster", fmt.Sprintf("%s, PostgreSQL %d", strings.TrimSpace(r.Scope+" "+r.SystemID.String()), r.Major))
	p.field("leader", r.Leader)
	p.field("timeline", lostTimelines(r.LostBranch))
	if r.Resumed {
		p.field("rewind", "begun and interrupted; this is the node as it was before")
	}
	p.lost(r.Lost, lostNames{r.LostNames, r.LostPlaces}, v)
	p.list("Warnings:", r.Warnings)
}

func lostTimelines(b *rewind.LostBranch) string {
	s := fmt.Sprint(b.Target.Timeline)
	if b.Source != nil {
		s += fmt.Sprintf(", the leader's is %d", b.Source.Timeline)
	}
	if b.Fork.LSN != pg.MaxLSN {
		s += fmt.Sprintf("; they part on timeline %d at %s", b.Fork.Timeline, b.Fork.LSN)
	}
	return s
}

// lost prints what only this node has.
func (p page) lost(l rewind.Lost, names lostNames, v lostView) {
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
	if l.Open > 0 {
		transactions += fmt.Sprintf(", %s open at the end", count(l.Open))
	}
	p.field("transactions", transactions)
	if !l.FirstCommit.IsZero() {
		p.field("committed", timeRange(l.FirstCommit, l.LastCommit))
	}
	if len(l.Relations) > 0 {
		p.lostRows(sortLost(&l, names), v)
	}
	p.lostChanges(&l, names, v)
	p.lostSequences(&l, names, v)
	p.lostTransactions(&l, v)
}

// timeRange prints two times of day, and the date once when it is the same.
func timeRange(from, to time.Time) string {
	const layout = "2006-01-02 15:04:05.000 -07:00"
	if from.Equal(to) {
		return from.Format(layout)
	}
	return from.Format(layout) + " to " + to.Format(layout)
}

// lostChanges prints what was done to the schema.
func (p page) lostChanges(l *rewind.Lost, names lostNames, v lostView) {
	if len(l.Changes) == 0 && l.UnreadChanges == 0 {
		return
	}
	p.line("\nChanges of the schema:")
	shown := v.cut(len(l.Changes))
	for _, c := range l.Changes[:shown] {
		p.line("  %s", printable(changeInWords(c, names)))
	}
	if more := int64(len(l.Changes)-shown) + l.MoreChanges; more > 0 {
		p.line("  … and %s more", count(more))
	}
	if l.UnreadChanges > 0 {
		p.line("  (%s more rows of catalogs were changed that cannot be read from this WAL)", count(l.UnreadChanges))
	}
}

// changeInWords: "created table shop public.account".
func changeInWords(c rewind.LostChange, names lostNames) string {
	words := c.Verb + " " + c.Kind
	place := names.places[c.Database]
	if name := cmp.Or(c.DatabaseName, place.Name); name != "" {
		words += " " + name
	} else if c.Database != 0 {
		words += fmt.Sprintf(" database %d", c.Database)
	}
	name := cmp.Or(c.Name, "without a name that is known")
	if c.SchemaID != 0 {
		name = cmp.Or(c.Schema, place.Schemas[c.SchemaID], fmt.Sprintf("schema %d", c.SchemaID)) + "." + name
	}
	if c.Kind == "system catalogs" {
		return words
	}
	words += " " + name
	if c.NewName != "" {
		words += " to " + c.NewName
	}
	return words
}

// lostSequences prints where sequences came to.
func (p page) lostSequences(l *rewind.Lost, names lostNames, v lostView) {
	var lines []string
	for i := range l.Relations {
		if r := &l.Relations[i]; r.LastValue != nil {
			label, _ := names.label(r)
			lines = append(lines, fmt.Sprintf("%s: up to %d", label, *r.LastValue))
		}
	}
	if len(lines) == 0 {
		return
	}
	p.line("\nSequences:")
	for _, line := range lines[:v.cut(len(lines))] {
		p.line("  %s", printable(line))
	}
	if more := len(lines) - v.cut(len(lines)); more > 0 {
		p.line("  … and %d more", more)
	}
}

// lostTransactions lists what waits for somebody, and all of them if asked to,
// the newest first.
func (p page) lostTransactions(l *rewind.Lost, v lostView) {
	var waiting []string
	for _, x := range l.Transactions {
		if x.State == rewind.TransactionPrepared {
			waiting = append(waiting, fmt.Sprintf("%s, since %s, %s rows", quoted(x.GID), x.Time.Format(time.RFC3339), count(x.Sum())))
		}
	}
	p.list("Prepared and not finished:", waiting)
	if !v.transactions || len(l.Transactions) == 0 {
		return
	}
	p.line("\nTransactions, the newest first:")
	shown := v.cut(len(l.Transactions))
	table := [][]string{{"state", "xid", "time", "inserted", "updated", "deleted"}}
	for _, x := range slices.Backward(l.Transactions[len(l.Transactions)-shown:]) {
		state, at := string(x.State), ""
		if x.GID != "" {
			state += " " + printable(quoted(x.GID))
		}
		if x.BeganBefore {
			state += " (began before the fork)"
		}
		if !x.Time.IsZero() {
			at = x.Time.Format("2006-01-02 15:04:05.000")
		}
		table = append(table, []string{state, fmt.Sprint(x.XID), at, count(x.Inserted), count(x.Updated), count(x.Deleted)})
	}
	renderTable(p.w, table)
	if more := int64(len(l.Transactions)-shown) + l.MoreTransactions; more > 0 {
		p.line("  … and %s older ones", count(more))
	}
}
