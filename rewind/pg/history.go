package pg

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNoAncestor says that two histories share no timeline.
var ErrNoAncestor = errors.New("the histories share no timeline")

// MaxHistorySize bounds the content of a timeline history file, in bytes. A
// line takes some 60 of them, so there is room for 70,000 promotions.
const MaxHistorySize = 4 << 20

// HistoryEntry is the part of a history that lies on one timeline: the WAL from
// Begin up to, not including, End.
type HistoryEntry struct {
	Timeline Timeline `json:"timeline"`
	Begin    LSN      `json:"begin"`
	// End is where the next timeline took over, MaxLSN in the last entry.
	End LSN `json:"end"`
}

// History is the way a server's WAL has come, oldest timeline first. Each entry
// begins where the one before ends; the first begins at 0 and the last has no
// end. Timeline ids increase, with gaps where other servers used a number.
type History []HistoryEntry

// ParseHistory reads the content of the history file of a timeline, the file
// that HistoryFileName names (access/transam/timeline.c; unchanged from 13 to
// 18). Timeline 1 has no such file; content is then empty.
//
// It is stricter than the server in what only a damaged file shows: switch
// points that go backwards or are zero, and a file that names no parent.
func ParseHistory(tli Timeline, content []byte) (History, error) {
	if tli == 0 {
		return nil, errors.New("parse timeline history: timeline 0 does not exist")
	}
	if len(content) > MaxHistorySize {
		return nil, fmt.Errorf("parse history of timeline %d: %d bytes, more than %d", tli, len(content), MaxHistorySize)
	}
	var h History
	var last HistoryEntry
	number := 0
	for line := range bytes.Lines(content) {
		number++
		e, ok, err := parseHistoryLine(string(line))
		if err == nil && ok {
			e.Begin = last.End
			err = checkHistoryEntry(e, last.Timeline, tli)
		}
		if err != nil {
			return nil, fmt.Errorf("parse history of timeline %d: line %d: %w", tli, number, err)
		}
		if ok {
			h, last = append(h, e), e
		}
	}
	if len(h) == 0 && tli != 1 {
		return nil, fmt.Errorf("parse history of timeline %d: no parent timeline in %d bytes", tli, len(content))
	}
	return append(h, HistoryEntry{Timeline: tli, Begin: last.End, End: MaxLSN}), nil
}

// parseHistoryLine reads "<timeline> <switch point> <reason>". Lines that are
// blank or comments give ok=false.
func parseHistoryLine(line string) (e HistoryEntry, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return e, false, nil
	}
	id, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		return e, false, fmt.Errorf("parse timeline: %w", err)
	}
	if len(fields) < 2 {
		return e, false, fmt.Errorf("timeline %d has no switch point", id)
	}
	lsn, err := ParseLSN(fields[1])
	return HistoryEntry{Timeline: Timeline(id), End: lsn}, err == nil, err
}

// checkHistoryEntry checks an entry against the timeline before it and the one
// that the file belongs to.
func checkHistoryEntry(e HistoryEntry, before, own Timeline) error {
	switch {
	case e.Timeline <= before:
		return fmt.Errorf("timeline %d follows %d", e.Timeline, before)
	case e.Timeline >= own:
		return fmt.Errorf("timeline %d is not older than the file's own", e.Timeline)
	case e.End == 0 || e.End == MaxLSN:
		return fmt.Errorf("switch point %s is not a position in the WAL", e.End)
	case e.End < e.Begin:
		return fmt.Errorf("switch point %s lies before the one before it, %s", e.End, e.Begin)
	}
	return nil
}

// HistoryFileName is the name of the history file of a timeline in pg_wal:
// "00000002.history".
func HistoryFileName(tli Timeline) string { return fmt.Sprintf("%08X.history", uint32(tli)) }

// At tells on which timeline the byte at lsn was written. A switch point itself
// belongs to the newer timeline. An empty history gives 0.
func (h History) At(lsn LSN) Timeline {
	for _, e := range h {
		if lsn < e.End {
			return e.Timeline
		}
	}
	return h.Last()
}

// Last is the timeline that the history leads to; 0 for an empty history.
func (h History) Last() Timeline {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].Timeline
}

// Contains tells whether a server that is on timeline tli and has WAL up to
// lsn, an end pointer, is an ancestor: everything it has is part of this
// history. Up to the switch point, inclusive, it is. A position from before
// the timeline's beginning counts as well: a standby reports one while it is
// still on its way to a timeline that it already follows.
func (h History) Contains(tli Timeline, lsn LSN) bool {
	for _, e := range h {
		if e.Timeline == tli {
			return lsn <= e.End
		}
	}
	return false
}

// HasTimeline tells whether a timeline of this number and beginning is part of
// the history.
func (h History) HasTimeline(tli Timeline, begin LSN) bool {
	for _, e := range h {
		if e.Timeline == tli {
			return e.Begin == begin
		}
	}
	return false
}

// UpTo is the history of one of the history's timelines: what came before it,
// and it without an end. It is nil for a timeline that is not part of it.
func (h History) UpTo(tli Timeline) History {
	for i, e := range h {
		if e.Timeline == tli {
			e.End = MaxLSN
			return append(h[:i:i], e)
		}
	}
	return nil
}

// Fork is where two histories part.
type Fork struct {
	// LSN is the end of what both have in common: WAL before it is the same on
	// both sides. MaxLSN when the histories are equal.
	LSN LSN `json:"lsn"`
	// Timeline is the last one in common.
	Timeline Timeline `json:"timeline"`
}

// FindFork compares two histories from the root on. They have a timeline in
// common while its id and where it begins are equal: two servers that promoted
// themselves at different positions to the same number are on different
// timelines. The order of the arguments does not matter. Histories without a
// common beginning give ErrNoAncestor.
//
// Two servers that promoted themselves at the same position to the same number
// have equal histories; histories cannot tell them apart.
func FindFork(a, b History) (Fork, error) {
	n := 0
	for n < len(a) && n < len(b) && a[n].Timeline == b[n].Timeline && a[n].Begin == b[n].Begin {
		n++
		if a[n-1].End != b[n-1].End {
			break
		}
	}
	if n == 0 {
		return Fork{}, fmt.Errorf("compare histories of timelines %d and %d: %w", a.Last(), b.Last(), ErrNoAncestor)
	}
	return Fork{LSN: min(a[n-1].End, b[n-1].End), Timeline: a[n-1].Timeline}, nil
}
