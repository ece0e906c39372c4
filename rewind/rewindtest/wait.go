package rewindtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// poll calls step until it says done or fails, for things that announce
// themselves in no other way. What step saw last is in the error of a timeout.
func poll(what string, step func() (done bool, saw string, err error)) error {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		done, saw, err := step()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: not within %s: %s", what, patience, saw)
		}
		time.Sleep(pause)
	}
}

// Promote makes the standby a primary and returns when it has left recovery.
// The checkpoint that follows a promotion may still be under way.
func (n *Node) Promote() error {
	if err := n.Exec("SELECT pg_promote(wait => false)"); err != nil {
		return fmt.Errorf("promote %s: %w", n.Name, err)
	}
	s, err := n.session("postgres")
	if err != nil {
		return fmt.Errorf("promote %s: %w", n.Name, err)
	}
	defer s.close()
	return poll("the promotion of "+n.Name, func() (bool, string, error) {
		v, err := s.value("SELECT pg_is_in_recovery()")
		return v == "f", "in recovery: " + v, err
	})
}

// Checkpoint runs CHECKPOINT; a restartpoint on a standby.
func (n *Node) Checkpoint() error { return n.Exec("CHECKPOINT") }

// InRecovery tells whether the server is a standby.
func (n *Node) InRecovery() (bool, error) {
	v, err := n.Value("SELECT pg_is_in_recovery()")
	return v == "t", err
}

// Timeline is the one on which a primary writes, or whose WAL a standby receives.
func (n *Node) Timeline() (pg.Timeline, error) {
	const query = `SELECT CASE WHEN pg_is_in_recovery()
		THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
		ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END`
	v, err := n.Value(query)
	if err != nil {
		return 0, err
	}
	var tli pg.Timeline
	_, err = fmt.Sscan(v, &tli)
	return tli, err
}

// EndOfWAL is where a primary's WAL ends now, flushed or not, or up to where a
// standby has replayed. It is the end of a record, so that a standby that has
// replayed everything is exactly there: the position just after a page header
// that pg_current_wal_insert_lsn gives at a page boundary is set back.
func (n *Node) EndOfWAL() (pg.LSN, error) {
	v, err := n.Query(`SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
		(SELECT setting::int8 * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END FROM pg_settings WHERE name = 'wal_segment_size')`)
	if err != nil {
		return 0, err
	}
	lsn, err := pg.ParseLSN(v[0][0])
	if err != nil {
		return 0, err
	}
	var segment pg.LSN
	if _, err := fmt.Sscan(v[0][1], &segment); err != nil {
		return 0, err
	}
	const page, shortHeader, longHeader = 8192, 24, 40
	switch {
	case lsn%segment == longHeader:
		lsn -= longHeader
	case lsn%page == shortHeader && lsn%segment != shortHeader:
		lsn -= shortHeader
	}
	return lsn, nil
}

// flushWAL brings what a primary has inserted to its disk, from where it is
// sent. A commit does that; hint bits that a SELECT has set would else wait for
// the next one, or for the background writer's snapshot 15 seconds later. Where
// all is flushed nothing is written: a quiet server stays as it is.
func (n *Node) flushWAL() error {
	flushed, err := n.Value("SELECT CASE WHEN pg_is_in_recovery() THEN true ELSE pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() END")
	if err != nil || flushed == "t" {
		return err
	}
	return n.Exec("SELECT pg_logical_emit_message(true, 'rewindtest', '')")
}

// WaitForCatchup returns when the standby streams from upstream and has replayed
// everything that upstream had written when the call began.
func (n *Node) WaitForCatchup(upstream *Node) error {
	if err := upstream.flushWAL(); err != nil {
		return err
	}
	target, err := upstream.EndOfWAL()
	if err != nil {
		return err
	}
	if err := upstream.WaitStreaming(n.Name, 0); err != nil {
		return fmt.Errorf("%w\n%s", err, n.Log(20))
	}
	s, err := n.session("postgres")
	if err != nil {
		return err
	}
	defer s.close()
	return poll(fmt.Sprintf("%s to replay up to %s of %s", n.Name, target, upstream.Name), func() (bool, string, error) {
		v, err := s.value("SELECT pg_last_wal_replay_lsn()")
		if err != nil {
			return false, "", err
		}
		lsn, err := pg.ParseLSN(v)
		return lsn >= target, "replayed up to " + v, err
	})
}

// WaitStreaming returns when a standby of that application_name streams from the
// node; with a timeline other than 0 also only when the node writes that one.
func (n *Node) WaitStreaming(applicationName string, timeline pg.Timeline) error {
	s, err := n.session("postgres")
	if err != nil {
		return err
	}
	defer s.close()
	return poll(fmt.Sprintf("%s to stream from %s", applicationName, n.Name), func() (bool, string, error) {
		rows, err := s.query("SELECT state, application_name FROM pg_stat_replication")
		if err != nil {
			return false, "", err
		}
		var saw []string
		for _, row := range rows {
			if row[1] == applicationName && row[0] == "streaming" {
				if timeline == 0 {
					return true, "", nil
				}
				tli, err := n.Timeline()
				return tli == timeline, fmt.Sprintf("timeline %d", tli), err
			}
			saw = append(saw, row[1]+" "+row[0])
		}
		return false, "standbys: " + strings.Join(saw, ", "), nil
	})
}

// WaitStreaming is Node.WaitStreaming for tests.
func WaitStreaming(t testing.TB, leader *Node, applicationName string, timeline pg.Timeline) {
	t.Helper()
	if err := leader.WaitStreaming(applicationName, timeline); err != nil {
		t.Fatal(err)
	}
}

func withPatience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}
