package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/failback-hook/failback-hook/dcs"
)

// renderStatus prints a state for people.
func renderStatus(w io.Writer, s clusterStatus) {
	p := page{w}
	p.line("%s", statusTitle(s))
	p.line("")
	rows := [][]string{{"MEMBER", "ROLE", "STATE", "TL", "POSITION", "STANDING"}}
	for _, m := range s.Members {
		timeline := "-"
		if m.Timeline != 0 {
			timeline = fmt.Sprint(m.Timeline)
		}
		rows = append(rows, []string{printable(m.Name), string(m.Role), orDash(printable(m.State)), timeline, orDash(m.LSN), standingText(m.Stand)})
	}
	renderColumns(w, rows)
	p.atWork("At work:", s.AtWork, s.At)
	p.atWork("Waiting, first come first served:", s.Queue, s.At)
	if len(s.AtWork)+len(s.Queue) == 0 && len(s.Problems) == 0 {
		p.line("\nNobody is being rejoined, and nobody waits.")
	}
	p.list("Problems:", s.Problems)
}

func statusTitle(s clusterStatus) string {
	text := printable(s.Scope) + ": "
	if s.Leader == "" {
		text += "nobody leads"
	} else {
		text += "led by " + printable(s.Leader)
	}
	if s.Standby {
		text += ", a standby cluster"
	}
	if s.Paused {
		text += ", paused"
	}
	return fmt.Sprintf("%s (%s, etcd revision %d)", text, s.At.Format(time.DateTime+" MST"), s.Revision)
}

// standingText is "diverged: 24 B that the leader does not have (timeline 1 ended at …)".
func standingText(s dcs.Stand) string {
	text := string(s.Standing)
	switch {
	case s.Diverged != nil:
		text += fmt.Sprintf(", %s that the leader does not have", humanize.IBytes(uint64(*s.Diverged)))
	case s.Standing == dcs.StandingDiverged:
		text += ", by how much is not known"
	case s.Behind != nil:
		text += fmt.Sprintf(", %s behind", humanize.IBytes(uint64(*s.Behind)))
	}
	if s.Why != "" {
		text += " (" + s.Why + ")"
	}
	return text
}

// atWork prints who has a lock or a place, since when and how far.
func (p page) atWork(heading string, list []dcs.Holder, now time.Time) {
	if len(list) == 0 {
		return
	}
	p.line("\n%s", heading)
	var rows [][]string
	for _, h := range list {
		text := h.Operation
		if h.Progress != nil {
			text += ": " + h.Progress.String()
		}
		if h.Hangs {
			text += "; it seems to hang"
		}
		if h.Forgotten {
			text += "; on no lease: if nobody is at work, delete " + h.Key
		}
		since := "since -"
		if !h.Since.IsZero() {
			since = fmt.Sprintf("since %s (%s)", h.Since.UTC().Format(time.DateTime), rounded(max(now.Sub(h.Since), 0).Round(time.Second)))
		}
		rows = append(rows, []string{h.Member + " from " + orDash(h.Leader), since, fmt.Sprintf("host %s, pid %d", orDash(h.Host), h.PID), text})
	}
	renderColumns(p.w, rows)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
