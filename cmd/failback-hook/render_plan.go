package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// mostListed bounds the lists in the text; JSON has all of it.
const mostListed = 10

// page writes text and remembers nothing: an error of stdout has no remedy.
type page struct{ w io.Writer }

func (p page) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// field prints a name and a value that may be empty, in which case it prints nothing.
func (p page) field(name, value string) {
	if value != "" {
		p.line("  %-15s %s", name, value)
	}
}

// list prints names under a heading, the first few of them.
func (p page) list(heading string, names []string) {
	if len(names) == 0 {
		return
	}
	p.line("\n%s", heading)
	for _, n := range names[:min(len(names), mostListed)] {
		p.line("  %s", printable(n))
	}
	if more := len(names) - mostListed; more > 0 {
		p.line("  … and %d more (--output json lists all)", more)
	}
}

// printable quotes names with bytes that a terminal would act on: file names
// may hold anything.
func printable(s string) string {
	odd := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

// renderPlan prints a dry run for people.
func renderPlan(w io.Writer, r *hook.Report) {
	p := page{w}
	p.title(r)
	if r.Plan != nil {
		renderTimelines(w, r.Plan, r.Member, cmp.Or(r.Decision.Source.Name, r.Leader))
		p.method(r)
		p.work(r.Plan)
		p.list("Stay this node's own:", r.Plan.Kept)
		p.list("Replication slots of this node that will be dropped:", r.Plan.SlotsDropped)
		p.lost(r.Plan.Lost, lostNames{r.LostNames, r.LostPlaces}, lostView{limit: mostListed})
	}
	p.standby(r.Standby)
	p.list("At work on this cluster now:", holders(r.Locks))
	p.list("Warnings:", warnings(r))
	p.line("\nNothing was changed.")
}

// holders are the rejoins that hold locks.
func holders(locks []dcs.Owner) []string {
	var names []string
	for _, o := range locks {
		text := fmt.Sprintf("%s of %s from %s, since %s (host %s, pid %d)",
			o.Operation, o.Member, o.Leader, o.Since.Format(time.RFC3339), o.Host, o.PID)
		if o.Progress != nil {
			text += ": " + o.Progress.String()
		}
		names = append(names, text)
	}
	return names
}

// warnings are the plan's and the run's.
func warnings(r *hook.Report) []string {
	if r.Plan == nil {
		return r.Warnings
	}
	return slices.Concat(r.Plan.Warnings, r.Warnings)
}

func (p page) title(r *hook.Report) {
	switch r.Decision.Verb {
	case hook.VerbRejoin:
		from := ""
		if r.Decision.Follow != nil {
			from = "rewound from the " + r.Decision.Source.Name + ", "
		}
		p.line("Plan: bring %s back into %s, %sfollowing %s.", r.Member, r.Scope, from, r.Leader)
	case hook.VerbNothing:
		p.line("Nothing to do for %s in %s.", r.Member, r.Scope)
	default:
		p.line("%s of %s: %s.", r.Member, r.Scope, r.Decision.Verb)
	}
	if r.Decision.Reason != "" {
		p.line("Reason: %s", r.Decision.Reason)
	}
}

// method prints from where, how and why.
func (p page) method(r *hook.Report) {
	plan := r.Plan
	p.line("")
	if plan.Replay.LSN != 0 {
		p.field("replay from", fmt.Sprintf("checkpoint %s (redo %s, timeline %d)", plan.Replay.LSN, plan.Replay.Redo, plan.Replay.Timeline))
	}
	p.field("strategy", string(plan.Strategy)+": "+plan.Reason)
	if plan.Resumed {
		p.field("resumed", "an earlier run was interrupted; this one goes on from there")
	}
	p.field("to fetch", fetched(plan.Totals.FetchBytes, plan.Totals.WALBytes, cmp.Or(r.DatabaseBytes, plan.Source.Bytes)))
	if plan.Totals.UndoBytes > 0 {
		p.field("to save", size(plan.Totals.UndoBytes)+" that will be overwritten, so that it can be undone")
	}
}

// ratio prints bytes and what share of the whole they are.
func ratio(part, whole int64) string {
	s := size(part)
	if whole <= 0 {
		return s
	}
	return fmt.Sprintf("%s of %s (%.1f %%)", s, size(whole), 100*float64(part)/float64(whole))
}

// fetched prints what comes from the leader: files and blocks, which a copy of
// the database is the measure of, and WAL, which is not.
func fetched(all, wal, database int64) string {
	s := ratio(all-wal, database)
	if wal > 0 {
		s += ", and " + size(wal) + " of WAL"
	}
	return s
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func count(n int64) string { return humanize.Comma(n) }

// actionRow is a line of the table of work.
type actionRow struct {
	what  string
	files int
	bytes int64
}

// work prints files and bytes by action. The order is that of execution.
func (p page) work(plan *rewind.Plan) {
	t := plan.Totals
	withBlocks := 0
	for _, e := range plan.Entries {
		if len(e.Blocks) > 0 {
			withBlocks++
		}
	}
	rows := []actionRow{
		{"make directories", t.Files[rewind.ActionMkdir], 0},
		{"make links", t.Files[rewind.ActionSymlink], 0},
		{"copy whole files", t.Files[rewind.ActionCopy], t.FileBytes},
		{"append the missing end", t.Files[rewind.ActionTail], t.TailBytes},
		{fmt.Sprintf("copy changed blocks (%s)", count(t.Blocks)), withBlocks, t.BlockBytes},
		{"cut off", t.Files[rewind.ActionTruncate], t.TruncateBytes},
		{"remove", t.Files[rewind.ActionRemove], t.RemoveBytes},
		{"fetch WAL", len(plan.WAL.Fetch), t.WALBytes},
		{"set WAL aside", len(plan.WAL.SetAside), 0},
		{"equal, not fetched", t.SameFiles, 0},
	}
	rows = slices.DeleteFunc(rows, func(r actionRow) bool { return r.files == 0 && r.bytes == 0 })
	if len(rows) == 0 {
		return
	}
	p.line("")
	table := [][]string{{"what", "files", "size"}}
	for _, r := range rows {
		bytes := ""
		if r.bytes > 0 {
			bytes = size(r.bytes)
		}
		table = append(table, []string{r.what, count(int64(r.files)), bytes})
	}
	renderTable(p.w, table)
}

func (p page) standby(s *hook.StandbySettings) {
	if s == nil {
		return
	}
	p.line("\nStandby settings:")
	for _, kv := range [][2]string{
		{"primary_conninfo", s.PrimaryConninfo},
		{"primary_slot_name", s.PrimarySlotName},
		{"recovery_target_timeline", s.RecoveryTargetTimeline},
	} {
		if kv[1] != "" {
			p.line("  %s = %s", kv[0], quoted(kv[1]))
		}
	}
}

// quoted shows a setting as it stands in a configuration file.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
