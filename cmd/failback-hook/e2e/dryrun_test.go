package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestDryRun: a dry run says what would be done and does nothing, not even for
// a moment, on the node, in etcd or on the leader; a real run then does what it
// said, and stops the running server for it.
func TestDryRun(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		s := newScene(t, pg, rewindtest.Opts{Seed: 107, Rows: 3000, OldRunning: true})
		t.Run("running", func(t *testing.T) {
			pid := s.old.PID()
			s.dryRun(t)
			if got := s.old.PID(); got != pid || !s.old.Running() {
				t.Errorf("the server's process is %d, before it was %d", got, pid)
			}
		})
		s.old.Must(t).Kill()
		t.Run("killed", func(t *testing.T) {
			before := takeSnapshot(t, s.old.Dir)
			s.dryRun(t)
			before.unchanged(t, s.old.Dir)
		})
		s.old.Must(t).Start()
		if err := s.cluster.Put(t.Context(), "config", `{"pause":true}`); err != nil { // or its manager would be in charge
			t.Fatal(err)
		}
		t.Run("then for real on the running server", func(t *testing.T) {
			s.pause(t) // its manager would start it again
			rep := s.rejoin(t, s.old, "rejoined")
			if rep.Plan == nil || rep.Plan.Lost.Commits <= 0 {
				t.Errorf("plan %+v, want lost commits", rep.Plan)
			}
			follows(t, s.old, s.leader)
		})
	})
}

// pause is patronictl pause.
func (s *scene) pause(t *testing.T) {
	t.Helper()
	if err := s.cluster.Put(t.Context(), "config", `{"ttl":30,"loop_wait":10,"pause":true,"postgresql":{"use_slots":true}}`); err != nil {
		t.Fatal(err)
	}
}

// dryRun makes the dry run in both forms and looks at what must not change.
func (s *scene) dryRun(t *testing.T) {
	t.Helper()
	before := s.etcdState(t)
	rep := s.run(t, s.old, "--dry-run", "--output", "json").must(t, 0).report(t)
	text := s.run(t, s.old, "--dry-run").must(t, 0).stdout
	if after := s.etcdState(t); after != before {
		t.Errorf("etcd went from %+v to %+v: %v", before, after, s.etcdEvents(t, before.revision))
	}
	if slots := s.leader.Must(t).Query("SELECT slot_name FROM pg_replication_slots"); len(slots) > 0 {
		t.Errorf("slots on the leader: %v", slots)
	}
	if rep.Outcome != "planned" || rep.Plan == nil {
		t.Fatalf("outcome %q, plan %+v", rep.Outcome, rep.Plan)
	}
	if p := rep.Plan; p.Strategy != "wal" || p.Fork.LSN != s.pair.Fork.String() || p.Fork.Timeline != 1 || p.Totals.FetchBytes <= 0 {
		t.Errorf("plan %+v, want strategy wal, fork on timeline 1 at %s, bytes to fetch", p, s.pair.Fork)
	}
	for _, want := range []string{s.pair.Fork.String(), "strategy", "wal:", "to fetch", "iB of ", "Lost:", "Nothing was changed."} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if want := fmt.Sprintf("Plan: bring %s back into %s, following %s.", s.old.Name, scope, s.leader.Name); !strings.HasPrefix(text, want) {
		t.Errorf("the text does not begin with %q:\n%s", want, text)
	}
}
