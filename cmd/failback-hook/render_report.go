package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/failback-hook/failback-hook/hook"
)

// renderReport prints what a run did, for people.
func renderReport(w io.Writer, r *hook.Report) {
	p := page{w}
	p.line("%s", headline(r))
	if r.Decision.Reason != "" {
		p.line("Reason: %s", r.Decision.Reason)
	}
	p.line("")
	if r.Plan != nil {
		p.field("strategy", string(r.Plan.Strategy)+": "+r.Plan.Reason)
	}
	if r.Plan != nil && r.Outcome != hook.OutcomeReinitialized { // then another process did the work
		p.field("fetched", fetched(r.FetchedBytes, r.FetchedWALBytes, r.DatabaseBytes))
	}
	if s := r.Salvaged; s != nil {
		p.field("salvaged", fmt.Sprintf("WAL that only this node had, %s, in %s", humanize.IBytes(uint64(s.Bytes)), s.Dir))
	}
	if s := r.Streaming; s != nil {
		text := fmt.Sprintf("on timeline %d, sent to %s", s.Timeline, s.SentLSN)
		if s.After > 0 { // zero where this run started nothing
			text += fmt.Sprintf(", %s after the start", rounded(s.After))
		}
		p.field("streaming", text)
	}
	if !r.Started.IsZero() && !r.Finished.IsZero() {
		p.field("time", rounded(r.Finished.Sub(r.Started)))
	}
	p.steps(r)
	if r.Plan != nil {
		p.lost(r.Plan.Lost, lostNames{r.LostNames, r.LostPlaces}, lostView{limit: mostListed})
		p.list("Stayed this node's own:", r.Plan.Kept)
	}
	p.standby(r.Standby)
	p.list("Warnings:", warnings(r))
}

func headline(r *hook.Report) string {
	switch r.Outcome {
	case hook.OutcomeRejoined:
		return fmt.Sprintf("%s is back in %s and streams from %s.", r.Member, r.Scope, r.Leader)
	case hook.OutcomeConfigured:
		return fmt.Sprintf("%s is back in %s and streams from %s; nothing had to be copied.", r.Member, r.Scope, r.Leader)
	case hook.OutcomeReinitialized:
		return fmt.Sprintf("%s was brought back into %s by its manager and streams from %s.", r.Member, r.Scope, r.Leader)
	case hook.OutcomeNothing:
		return fmt.Sprintf("Nothing to do: %s already streams from the leader of %s.", r.Member, r.Scope)
	}
	return fmt.Sprintf("%s of %s is not done.", r.Member, r.Scope)
}

// steps prints how long each took; the phases that applying consisted of stand
// below that step.
func (p page) steps(r *hook.Report) {
	if len(r.Steps) == 0 {
		return
	}
	var table [][]string
	for _, s := range r.Steps {
		table = append(table, []string{s.Name, rounded(s.Duration)})
		if s.Name != "apply" {
			continue
		}
		for _, phase := range r.Phases {
			table = append(table, []string{"  " + string(phase.Phase), rounded(phase.Duration)})
		}
	}
	p.line("")
	renderTable(p.w, table)
}

// rounded keeps the digits that mean something to a person.
func rounded(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
