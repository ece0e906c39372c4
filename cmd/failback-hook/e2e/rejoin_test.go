package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// ownFiles are things in PGDATA that belong to the node and not to the data.
var ownFiles = map[string]string{
	"pg_ident.conf":            "# the old primary's own\n",
	"server.crt":               "the old primary's own certificate\n",
	"server.key":               "the old primary's own key\n",
	"conf.d/memory.conf":       "# the old primary's own\n",
	"log/postgresql-may.log":   "what happened in May\n",
	"postgresql.conf.bak":      "# from before the upgrade\n",
	"patroni.dynamic.json":     "{}\n",
	"pg_log_archive/day-1.txt": "day 1\n",
}

// The members' names show Patroni's rule for the names of slots.
const (
	oddName = "Node-1.a"
	oddSlot = "node_1_a"
)

// bulk is data that nobody touches after the fork: some 60 MB.
const bulk = "CREATE TABLE bulk AS SELECT i, repeat(md5(i::text), 30) AS t FROM generate_series(1, 60000) i"

// TestRejoinAfterCrash is the main job: the primary was killed while a client
// wrote, both sides have written since, and one command brings it back.
func TestRejoinAfterCrash(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		s := newScene(t, pg, rewindtest.Opts{
			Seed: 101, Rows: 8000, KillOld: true, CheckpointsAfterFork: 1,
			Cluster: rewindtest.Options{Name: oddName, LogInside: true},
			Before: func(old, standby *rewindtest.Node) error {
				return errors.Join(old.Exec(bulk, "CHECKPOINT"),
					os.WriteFile(filepath.Join(standby.Dir, "server.crt"), []byte("the leader's\n"), 0o600))
			},
		})
		own := s.plantOwnFiles(t)
		log := readFile(t, s.old.LogFile())

		rep := s.rejoin(t, s.old, "rejoined")
		checkReport(t, s, rep)
		for name, content := range own {
			if got := readFile(t, filepath.Join(s.old.Dir, name)); got != content {
				t.Errorf("%s was changed to:\n%s", name, got)
			}
		}
		if !strings.HasPrefix(readFile(t, s.old.LogFile()), log) {
			t.Error("what the server's log held before is not there any more")
		}
		checkLeaderView(t, s)
		follows(t, s.old, s.leader)
		rewindtest.AmCheck(t, s.old)

		before := s.etcdState(t)
		if again := s.rejoin(t, s.old, "nothing to do"); again.Streaming == nil || again.Streaming.State != "streaming" {
			t.Errorf("a second run shows the node as %+v", again.Streaming)
		}
		if after := s.etcdState(t); after != before {
			t.Errorf("a run with nothing to do took etcd from %+v to %+v", before, after)
		}
		res := s.run(t, s.old).must(t, 0)
		if want := "Nothing to do: " + oddName + " already streams from the leader of demo."; !strings.Contains(res.stdout, want) {
			t.Errorf("a second run prints\n%swithout %q", res.stdout, want)
		}
		s.old.Must(t).Stop(rewindtest.Fast)
		rewindtest.Checksums(t, pg, s.old.Dir)
	})
}

// plantOwnFiles gives the stopped old primary files of its own and returns all
// those that must stay, configuration included.
func (s *scene) plantOwnFiles(t *testing.T) map[string]string {
	t.Helper()
	own := map[string]string{}
	for name, content := range ownFiles {
		path := filepath.Join(s.old.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, content)
		own[name] = content
	}
	hba := filepath.Join(s.old.Dir, "pg_hba.conf")
	writeFile(t, hba, readFile(t, hba)+"# the old primary's own\n")
	for _, name := range []string{"pg_hba.conf", "postgresql.conf"} {
		own[name] = readFile(t, filepath.Join(s.old.Dir, name))
	}
	return own
}

func checkReport(t *testing.T, s *scene, rep report) {
	t.Helper()
	if rep.Member != oddName || rep.Leader != s.leader.Name {
		t.Errorf("report is of member %q and leader %q", rep.Member, rep.Leader)
	}
	if rep.FetchedBytes <= 0 || rep.FetchedBytes >= rep.DatabaseBytes {
		t.Errorf("fetched %d bytes of a database of %d", rep.FetchedBytes, rep.DatabaseBytes)
	}
	switch {
	case rep.Plan == nil:
		t.Error("report has no plan")
	case rep.Plan.Strategy != "wal" || rep.Plan.Lost.Commits <= 0 || rep.Plan.Fork.LSN != s.pair.Fork.String():
		t.Errorf("plan %+v; want strategy wal, lost commits, and the fork at %s", rep.Plan, s.pair.Fork)
	}
	if rep.Streaming == nil || rep.Streaming.Timeline != 2 || rep.Streaming.State != "streaming" {
		t.Errorf("streaming %+v, want state streaming on timeline 2", rep.Streaming)
	}
	if !rep.SlotCreated || rep.Standby == nil || rep.Standby.PrimarySlotName != oddSlot {
		t.Errorf("slot created %t, standby settings %+v; want slot %s", rep.SlotCreated, rep.Standby, oddSlot)
	}
}

// checkLeaderView asks both servers for what the report claims.
func checkLeaderView(t *testing.T, s *scene) {
	t.Helper()
	rewindtest.WaitStreaming(t, s.leader, oddName, 2)
	if got := s.leader.Must(t).Value("SELECT active FROM pg_replication_slots WHERE slot_name = '" + oddSlot + "'"); got != "t" {
		t.Errorf("slot %s on the leader: active %s", oddSlot, got)
	}
	if got := s.old.Must(t).Value("SHOW primary_slot_name"); got != oddSlot {
		t.Errorf("primary_slot_name %q, want %q", got, oddSlot)
	}
	if got := s.old.Must(t).Value("SHOW recovery_target_timeline"); got != "latest" {
		t.Errorf("recovery_target_timeline %q", got)
	}
}

// TestCleanSwitchover: the old primary has nothing that the leader lacks. It
// only has to become a standby, and nothing is copied. Here two users share the
// work, as with Patroni: the one that reads may make no slot, so none is used.
func TestCleanSwitchover(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		s := newScene(t, pg, rewindtest.Opts{Seed: 103, Clean: true, Before: func(old, _ *rewindtest.Node) error {
			return old.Exec("ALTER ROLE rewind_user NOREPLICATION", "CREATE ROLE replicator LOGIN REPLICATION")
		}})
		s.lines = "replication:\n  conninfo: user=replicator\n"
		rep := s.rejoin(t, s.old, "configured")
		if rep.FetchedBytes != 0 {
			t.Errorf("fetched %d bytes, want none", rep.FetchedBytes)
		}
		if rep.Plan == nil || rep.Plan.Strategy != "none" || rep.Plan.Lost.Commits != 0 || rep.Plan.Lost.Bytes != 0 {
			t.Errorf("plan %+v; want strategy none and nothing lost", rep.Plan)
		}
		if rep.Streaming == nil || rep.Streaming.Timeline != 2 {
			t.Errorf("streaming %+v, want timeline 2", rep.Streaming)
		}
		if rep.Standby == nil || rep.Standby.PrimarySlotName != "" || !strings.Contains(rep.Standby.PrimaryConninfo, "user=replicator") {
			t.Errorf("standby settings %+v; want no slot, and user replicator", rep.Standby)
		}
		if !strings.Contains(strings.Join(rep.Warnings, "\n"), "no slot is used") {
			t.Errorf("warnings %q do not say that no slot is used", rep.Warnings)
		}
		follows(t, s.old, s.leader)
	})
}
