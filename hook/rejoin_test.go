package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// theWork is a rejoin from the lock to its release, in order.
var theWork = []string{"lock", "plan", "slot n1", "apply", "check lock", "release"}

func TestRejoin(t *testing.T) {
	for _, tt := range []struct {
		name     string
		strategy rewind.Strategy
		want     Outcome
	}{
		{"diverged", rewind.StrategyWAL, OutcomeRejoined},
		{"not diverged", rewind.StrategyNone, OutcomeConfigured},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.startServer(t)
			s.plan.Strategy = tt.strategy
			s.on["plan"] = func() {
				if s.running() {
					t.Error("planned on a running server")
				}
			}
			s.on["release"] = func() {
				if s.running() {
					t.Error("the server was started under the lock")
				}
				s.streams(2)()
			}
			report, err := s.hook.Rejoin(t.Context())
			must(t, err)
			if got := s.seen(); !slices.Equal(got, theWork) {
				t.Errorf("did %v, want %v", got, theWork)
			}
			if !s.running() {
				t.Error("the server does not run")
			}
			if report.Outcome != tt.want || report.Leader != "n2" || report.Scope != "main" || report.FetchedBytes != 77 ||
				report.DatabaseBytes != 1000 || report.Streaming == nil || report.Streaming.Timeline != 2 || len(report.Phases) != 1 {
				t.Errorf("got %+v", report)
			}
			if got := stepNames(report); !slices.Equal(got, []string{"look", "lock", "look again", "stop", "plan", "slot", "apply", "start", "stream"}) {
				t.Errorf("got steps %v", got)
			}
			sameOptions(t, "primary_conninfo", s.options.Standby.Conninfo, "user=rewinder password=hunter2 host=10.0.0.2 port=5432 application_name=n1")
			if strings.Contains(report.Standby.PrimaryConninfo, "hunter2") {
				t.Errorf("the report holds a password: %s", report.Standby.PrimaryConninfo)
			}
			sameOptions(t, "source", s.conninfo, "user=rewinder password=hunter2 host=10.0.0.2 port=5432 dbname=postgres connect_timeout=5")
		})
	}
}

func stepNames(r *Report) (names []string) {
	for _, s := range r.Steps {
		names = append(names, s.Name)
	}
	return names
}

// What stands against a rejoin is found before anything is done, by both.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*stage)
		want  error
	}{
		{"no name", func(s *stage) { s.hook.Config.Name = "" }, ErrConfig},
		{"bad words", func(s *stage) { s.hook.Config.Slots = "maybe" }, ErrConfig},
		{"no data directory", func(s *stage) { s.hook.Config.PGData += "x" }, rewind.ErrNotDataDir},
		{"the leader", func(s *stage) { s.facts.Topology.Leader.Name = "n1" }, ErrIsLeader},
		{"no leader", func(s *stage) { s.facts.Topology.Leader = nil }, ErrNoLeader},
		{"leader in recovery", func(s *stage) { s.facts.Upstream.InRecovery = true }, ErrLeaderNotReady},
		{"another cluster", func(s *stage) { s.facts.Upstream.SystemID = 5 }, ErrSystemID},
		{"etcd is away", func(s *stage) { s.fail["topology"] = dcs.ErrUnavailable }, dcs.ErrUnavailable},
		{"leader does not answer", func(s *stage) { s.fail["connect"] = rewind.ErrSourceUnavailable }, rewind.ErrSourceUnavailable},
		{"leader does not let us in", func(s *stage) { s.fail["upstream"] = rewind.ErrSourceAuth }, rewind.ErrSourceAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.startServer(t)
			dir := s.hook.Config.PGData
			tt.setup(s)
			for name, call := range map[string]func(context.Context) (*Report, error){"Rejoin": s.hook.Rejoin, "DryRun": s.hook.DryRun} {
				report, err := call(t.Context())
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", name, err, tt.want)
				}
				if report == nil || report.Outcome != "" {
					t.Errorf("%s: got report %+v", name, report)
				}
			}
			if got := s.seen(); len(got) > 0 {
				t.Errorf("did %v, want nothing", got)
			}
			if pid, err := postmaster.Find(dir); pid == 0 || err != nil {
				t.Error("the server was stopped")
			}
		})
	}
}

func TestNothingToDo(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	write(t, filepath.Join(s.hook.Config.PGData, "standby.signal"), "")
	s.streams(2)()
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Outcome != OutcomeNothing || report.Streaming == nil || report.Decision.Verb != VerbNothing {
		t.Errorf("got %+v", report)
	}
	if got := s.seen(); len(got) > 0 || !s.running() {
		t.Errorf("did %v, want nothing", got)
	}
}

// A standby that was started a moment ago comes by itself.
func TestSettle(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	write(t, filepath.Join(s.hook.Config.PGData, "standby.signal"), "")
	time.AfterFunc(100*time.Millisecond, s.streams(2))
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Outcome != OutcomeNothing || len(s.seen()) > 0 {
		t.Errorf("got outcome %q, did %v", report.Outcome, s.seen())
	}

	// And one that does not is brought back.
	s.set(func() { s.walsender = nil })
	s.on["release"] = s.streams(2)
	report, err = s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Outcome != OutcomeRejoined || !slices.Equal(s.seen(), theWork) {
		t.Errorf("got outcome %q, did %v", report.Outcome, s.seen())
	}
}

func TestControlNoneRejoins(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	stop := s.hook.Config.StopCommand
	s.hook.Config.Control, s.hook.Config.StopCommand, s.hook.Config.StartCommand = ControlNone, "", ""
	if _, err := s.hook.Rejoin(t.Context()); !errors.Is(err, ErrServerRunning) || len(s.seen()) > 0 {
		t.Errorf("running: got %v, did %v", err, s.seen())
	}
	srv := &server{cfg: s.hook.Config.withDefaults()}
	must(t, srv.shell(t.Context(), "stop", stop, time.Second, nil))
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Outcome != OutcomeRejoined || report.Streaming != nil || s.running() {
		t.Errorf("got %+v", report)
	}
}

func TestDryRun(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	before := snapshot(t, s.hook.Config.PGData)
	report, err := s.hook.DryRun(t.Context())
	must(t, err)
	if got := s.seen(); !slices.Equal(got, []string{"plan"}) {
		t.Errorf("did %v, want only to plan", got)
	}
	if report.Outcome != OutcomePlanned || report.Plan == nil || report.Standby == nil || report.Standby.PrimarySlotName != "n1" ||
		len(report.Locks) != 1 || report.Locks[0].Member != "n3" || strings.Contains(report.Standby.PrimaryConninfo, "hunter2") {
		t.Errorf("got %+v", report)
	}
	if after := snapshot(t, s.hook.Config.PGData); !slices.Equal(before, after) || !s.running() {
		t.Errorf("the data directory was changed: before %v, after %v", before, after)
	}

	s.fail["locks"] = dcs.ErrAuth
	s.hook.Config.Control, s.hook.Config.StopCommand, s.hook.Config.StartCommand = ControlNone, "", ""
	report, err = s.hook.DryRun(t.Context())
	must(t, err)
	if len(report.Warnings) != 2 {
		t.Errorf("got warnings %q, want one about the locks and one about the running server", report.Warnings)
	}
}

// snapshot lists a directory with sizes and times.
func snapshot(t *testing.T, dir string) (all []string) {
	t.Helper()
	must(t, filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err == nil {
			all = append(all, path+" "+fi.ModTime().String()+" "+fi.Mode().String())
		}
		return err
	}))
	return all
}

// A server under a manager that would start it again is not stopped, unless the
// cluster is paused, or the commands are the user's.
func TestManaged(t *testing.T) {
	alive := dcs.Member{Name: "n1", State: "running", Lease: 3}
	tests := []struct {
		name   string
		change func(*stage)
		want   error
	}{
		{"alive", func(*stage) {}, ErrManaged},
		{"alive, and its server starting", func(s *stage) { s.facts.Topology.Members[2].State = "starting" }, ErrManaged},
		{"paused", func(s *stage) { s.facts.Topology.Config.Paused = true }, nil},
		{"its key has no lease", func(s *stage) { s.facts.Topology.Members[2].Lease = 0 }, nil},
		{"its key has gone", func(s *stage) { s.facts.Topology.Members = s.facts.Topology.Members[:2] }, nil},
		{"on its way out", func(s *stage) { s.facts.Topology.Members[2].State = "stopped" }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.startServer(t)
			s.facts.Topology.Members[2] = alive
			tt.change(s)
			r := s.hook.begin()
			r.facts = s.facts
			r.facts.Local.Running, r.cfg.Control = true, ControlPGCtl
			if err := r.mayStop(); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			r.cfg.Control = ControlCommand
			if err := r.mayStop(); err != nil {
				t.Errorf("with commands: %v", err)
			}
		})
	}
}

// TestManagedRejoin: the refusal comes before anything is done, says what is
// the matter, and a dry run warns of it.
func TestManagedRejoin(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	s.usePGCtl(t)
	s.facts.Topology.Members[2] = dcs.Member{Name: "n1", State: "running", Lease: 3}
	_, err := s.hook.Rejoin(t.Context())
	var hint interface{ Hint() string }
	if !errors.Is(err, ErrManaged) || !strings.Contains(err.Error(), "bring n1 back from n2") ||
		!errors.As(err, &hint) || !strings.Contains(hint.Hint(), "failback-hook --pause") {
		t.Errorf("got %v", err)
	}
	if got := s.seen(); len(got) > 0 || !s.running() {
		t.Errorf("did %v, want nothing", got)
	}
	report, err := s.hook.DryRun(t.Context())
	must(t, err)
	if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "would be refused") {
		t.Errorf("got warnings %q", report.Warnings)
	}
	s.facts.Topology.Config.Paused = true
	if report, err = s.hook.DryRun(t.Context()); err != nil || len(report.Warnings) != 0 {
		t.Errorf("paused: got %v, warnings %q", err, report.Warnings)
	}

	// The cluster is resumed between the first look and the one under the lock.
	s.on["lock"] = func() { s.set(func() { s.facts.Topology.Config.Paused = false }) }
	if _, err = s.hook.Rejoin(t.Context()); !errors.Is(err, ErrManaged) || !s.running() || !slices.Equal(s.seen(), []string{"plan", "plan", "lock", "release"}) {
		t.Errorf("resumed meanwhile: got %v, did %v", err, s.seen())
	}
}

// TestUnknownName: a name that etcd does not know may be a slip of the finger.
func TestUnknownName(t *testing.T) {
	s := newStage(t)
	s.facts.Topology.Members = s.facts.Topology.Members[:2]
	report, err := s.hook.DryRun(t.Context())
	must(t, err)
	if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "no member n1 (it has n2, n3)") {
		t.Errorf("got warnings %q", report.Warnings)
	}
}

// usePGCtl gives the control to a pg_ctl of the fixture's version, which only
// says that and which no test here comes to run otherwise.
func (s *stage) usePGCtl(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "pg_ctl"), []byte("#!/bin/sh\necho 'pg_ctl (PostgreSQL) 15.18'\n"), 0o700))
	c := &s.hook.Config
	c.Control, c.StopCommand, c.StartCommand, c.BinDir = ControlPGCtl, "", "", bin
	write(t, filepath.Join(c.PGData, "postgresql.conf"), "")
}

// TestManagedDown: what is down may be worked on; no start succeeds meanwhile.
func TestManagedDown(t *testing.T) {
	s := newStage(t)
	s.facts.Topology.Members[2] = dcs.Member{Name: "n1", State: "running", Lease: 3}
	s.on["release"] = s.streams(2)
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Outcome != OutcomeRejoined || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "not paused") {
		t.Errorf("got outcome %q, warnings %q", report.Outcome, report.Warnings)
	}
}

// TestLostNames: the leader is asked about what it can know for certain, after
// the work, and not knowing is no error.
func TestLostNames(t *testing.T) {
	relation := func(rel pg.Oid, created bool) rewind.LostRelation {
		loc := account
		loc.Rel = rel
		return rewind.LostRelation{Locator: loc, Path: pg.RelPath(loc, pg.MainFork, 0, 15), LostRows: rewind.LostRows{Inserted: 1}, Created: created}
	}
	s := newStage(t)
	s.plan.Lost.Relations = []rewind.LostRelation{relation(account.Rel, false), relation(16500, true), relation(1259, false), relation(16600, false)}
	s.on["release"] = s.streams(2)
	s.on["names"] = func() {
		if s.count("release") == 0 {
			t.Error("asked before the work was done")
		}
	}
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	want := map[string]RelationName{"base/5/16400": {Database: "shop", Schema: "public", Name: "account", Kind: "table"}}
	if diff := cmp.Diff(want, report.LostNames); diff != "" {
		t.Errorf("names: -want +got:\n%s", diff)
	}
	if len(s.asked) != 2 || s.asked[0].Rel != account.Rel || s.asked[1].Rel != 16600 {
		t.Errorf("asked for %v", s.asked)
	}

	// What was found is kept, and an error changes nothing else.
	s.fail["names"] = rewind.ErrSourcePrivilege
	s.on["names"] = nil
	if report, err = s.hook.DryRun(t.Context()); err != nil || len(report.LostNames) != 1 {
		t.Errorf("got %v, names %v", err, report.LostNames)
	}
	// The leader's own relation of that number is none of ours.
	s.plan.Lost.Relations[0].Created = true
	if report, err = s.hook.DryRun(t.Context()); err != nil || len(report.LostNames) != 0 {
		t.Errorf("made behind the fork: got %v, names %v", err, report.LostNames)
	}
	s.plan.Lost.Relations = nil
	for i := range 2 * mostNamed {
		s.plan.Lost.Relations = append(s.plan.Lost.Relations, relation(pg.Oid(20000+i), false))
	}
	if _, err = s.hook.DryRun(t.Context()); err != nil || len(s.asked) != mostNamed {
		t.Errorf("asked for %d, %v", len(s.asked), err)
	}
}
