package dcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Switch is a change of timelines in the leader's history, as its manager tells
// it: Timeline ended at LSN.
type Switch struct {
	Timeline pg.Timeline `json:"timeline"`
	LSN      pg.LSN      `json:"lsn"`
	Reason   string      `json:"reason,omitempty"`
	At       time.Time   `json:"at,omitzero"`
	Leader   string      `json:"leader,omitempty"`
}

// maxSwitches bounds the history; a cluster that fails over every hour has that
// many in a year.
const maxSwitches = 10_000

// parseHistory reads Patroni's history key: a list of [timeline, LSN, reason, time,
// new leader], of which older entries have only the first three. Timelines and
// positions have to grow, as in a history file.
func parseHistory(value []byte) ([]Switch, error) {
	if len(bytes.TrimSpace(value)) == 0 {
		return nil, nil
	}
	var rows [][]json.RawMessage
	if err := json.Unmarshal(value, &rows); err != nil {
		return nil, err
	}
	if len(rows) > maxSwitches {
		return nil, fmt.Errorf("%d entries are more than anybody's history", len(rows))
	}
	var list []Switch
	for i, row := range rows {
		s, err := parseSwitch(row)
		if err == nil && i > 0 && (s.Timeline <= list[i-1].Timeline || s.LSN < list[i-1].LSN) {
			err = errors.New("it does not follow the one before")
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func parseSwitch(row []json.RawMessage) (Switch, error) {
	if len(row) < 2 {
		return Switch{}, errors.New("a timeline and its end are needed")
	}
	var timeline uint32
	var lsn uint64
	if err := json.Unmarshal(row[0], &timeline); err != nil {
		return Switch{}, fmt.Errorf("timeline: %w", err)
	}
	if err := json.Unmarshal(row[1], &lsn); err != nil {
		return Switch{}, fmt.Errorf("position: %w", err)
	}
	if timeline == 0 {
		return Switch{}, errors.New("timeline 0")
	}
	s := Switch{Timeline: pg.Timeline(timeline), LSN: pg.LSN(lsn)}
	var at string
	for i, to := range []*string{&s.Reason, &at, &s.Leader} {
		if len(row) > i+2 && json.Unmarshal(row[i+2], to) == nil {
			*to = plain(*to, maxWord)
		}
	}
	// For people only: a time that is not one is left out.
	s.At, _ = time.Parse(time.RFC3339Nano, at)
	return s, nil
}

// Standing is how a member stands to the leader, as far as etcd tells.
type Standing string

// The standings.
const (
	StandingLeads Standing = "leads"
	// StandingStreams: its manager says that it streams, on the leader's timeline.
	StandingStreams Standing = "streams"
	// StandingFollows: it is on the leader's timeline; whether it streams is not told.
	StandingFollows Standing = "follows"
	// StandingBehind: on an older timeline of the leader's, and not past its end.
	StandingBehind Standing = "behind"
	// StandingDiverged: it has WAL that the leader does not have.
	StandingDiverged Standing = "diverged"
	// StandingUnknown: what etcd holds does not decide it.
	StandingUnknown Standing = "unknown"
)

// Stand is a Standing with its reasons.
type Stand struct {
	Standing Standing `json:"standing"`
	// Why it is so, in a few words.
	Why string `json:"why,omitempty"`
	// Behind is how many bytes of WAL the member lacks, Diverged how many it has
	// that the leader does not have; nil where that is not known. Members report
	// at different moments: both are near to the truth, not the truth.
	Behind   *int64 `json:"behind_bytes,omitempty"`
	Diverged *int64 `json:"diverged_bytes,omitempty"`
	// Fork is where the histories part, of a diverged member.
	Fork *Switch `json:"fork,omitempty"`
}

// stand judges a member by what etcd holds: the timelines and positions that the
// managers report, and the history of the leader. A timeline's number proves
// nothing: a member that went its own way under the leader's number is not found
// out here, but by failback-hook --dry-run on it.
func stand(m Member, leader *Member, history []Switch) Stand {
	unknown := func(format string, args ...any) Stand {
		return Stand{Standing: StandingUnknown, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case leader == nil:
		return unknown("nobody leads")
	case m.Name == leader.Name:
		return Stand{Standing: StandingLeads}
	case m.Timeline == 0:
		return unknown("its manager reports no timeline")
	case leader.Timeline == 0:
		return unknown("the leader reports no timeline")
	case m.Timeline == leader.Timeline:
		return onLeadersTimeline(m, *leader)
	case m.Timeline > leader.Timeline:
		return Stand{Standing: StandingDiverged, Why: fmt.Sprintf("timeline %d is not the leader's", m.Timeline)}
	case len(history) == 0:
		return unknown("timeline %d; etcd holds no history to compare", m.Timeline)
	}
	return onOldTimeline(m, *leader, history)
}

func onLeadersTimeline(m, leader Member) Stand {
	s := Stand{Standing: StandingFollows}
	if leader.LSN != 0 && m.LSN != 0 {
		s.Behind = new(int64(max(leader.LSN, m.LSN) - m.LSN))
	}
	switch {
	case m.Role == RolePrimary:
		s.Standing, s.Behind, s.Why = StandingUnknown, nil, "it is a primary on the leader's timeline"
	case m.Replication == "streaming":
		s.Standing = StandingStreams
	case m.Replication != "":
		s.Why = m.Replication
	default:
		s.Why = "on the leader's timeline; whether it streams is not told"
	}
	return s
}

func onOldTimeline(m, leader Member, history []Switch) Stand {
	for _, end := range history {
		switch {
		case end.Timeline < m.Timeline:
			continue
		case end.Timeline > m.Timeline:
			return Stand{Standing: StandingDiverged, Why: fmt.Sprintf("timeline %d is not in the leader's history", m.Timeline)}
		case m.LSN == 0:
			return Stand{Standing: StandingUnknown, Why: fmt.Sprintf("on timeline %d; its manager reports no position", m.Timeline)}
		case m.LSN > end.LSN:
			return Stand{Standing: StandingDiverged, Diverged: new(int64(m.LSN - end.LSN)), Fork: &end,
				Why: fmt.Sprintf("timeline %d ended at %s for the leader", end.Timeline, end.LSN)}
		}
		s := Stand{Standing: StandingBehind, Why: fmt.Sprintf("still on timeline %d, and not past its end at %s", m.Timeline, end.LSN)}
		if leader.LSN > m.LSN {
			s.Behind = new(int64(leader.LSN - m.LSN))
		}
		return s
	}
	return Stand{Standing: StandingUnknown, Why: fmt.Sprintf("timeline %d is newer than the history in etcd", m.Timeline)}
}
