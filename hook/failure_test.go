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

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// Between the first look and the lock the world may change.
func TestDecidesAgainUnderTheLock(t *testing.T) {
	tests := []struct {
		name   string
		change func(*stage)
		want   error
	}{
		{"became the leader", func(s *stage) { s.facts.Topology.Leader = &dcs.Leader{Name: "n1", CreateRevision: 40, Lease: 9} }, dcs.ErrLeaderChanged},
		{"leader has gone", func(s *stage) { s.facts.Topology.Leader = nil }, ErrNoLeader},
		{"another term of the same leader", func(s *stage) {
			s.facts.Topology.Leader = &dcs.Leader{Name: "n2", CreateRevision: 60, Lease: 9}
		}, dcs.ErrLeaderChanged},
		{"leader went into recovery", func(s *stage) { s.facts.Upstream.InRecovery = true }, ErrLeaderNotReady},
		{"etcd went away", func(s *stage) { s.fail["topology"] = dcs.ErrUnavailable }, dcs.ErrUnavailable},
		{"another process brought it back", func(s *stage) {
			s.walsender = &Streaming{State: "streaming"}
			_ = os.WriteFile(filepath.Join(s.hook.Config.PGData, "standby.signal"), nil, 0o600)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.startServer(t)
			s.on["lock"] = func() { s.set(func() { tt.change(s) }) }
			report, err := s.hook.Rejoin(t.Context())
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err == nil && report.Outcome != OutcomeNothing {
				t.Errorf("got outcome %q", report.Outcome)
			}
			if got := s.seen(); !slices.Equal(got, []string{"lock", "release"}) || !s.running() {
				t.Errorf("did %v, want nothing but lock and release", got)
			}
		})
	}
}

// A failure before anything was changed leaves the node as it was.
func TestFailureBeforeChange(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*stage)
		want  error
		did   []string
	}{
		{"plan", func(s *stage) { s.fail["plan"] = rewind.ErrSourceWAL }, rewind.ErrSourceWAL, []string{"lock", "plan", "release"}},
		{"lock lost while planning", func(s *stage) { s.on["plan"] = func() { s.lock.lose(dcs.ErrLockLost) } }, dcs.ErrLockLost, []string{"lock", "plan", "release"}},
		{"leader changed while planning", func(s *stage) { s.on["plan"] = func() { s.lock.lose(dcs.ErrLeaderChanged) } }, dcs.ErrLeaderChanged, []string{"lock", "plan", "release"}},
		{"slot", func(s *stage) { s.fail["slot n1"], s.hook.Config.Slots = rewind.ErrSourcePrivilege, SlotsOn }, rewind.ErrSourcePrivilege, []string{"lock", "plan", "slot n1", "release"}},
		{"apply", func(s *stage) { s.fail["apply"] = rewind.ErrNotWritable }, rewind.ErrNotWritable, []string{"lock", "plan", "slot n1", "apply", "release"}},
	}
	for _, tt := range tests {
		for _, running := range []bool{true, false} {
			t.Run(tt.name, func(t *testing.T) {
				s := newStage(t)
				if running {
					s.startServer(t)
				}
				tt.setup(s)
				_, err := s.hook.Rejoin(t.Context())
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if got := s.seen(); !slices.Equal(got, tt.did) {
					t.Errorf("did %v, want %v", got, tt.did)
				}
				if s.running() != running {
					t.Errorf("running: %v, want %v as before", s.running(), running)
				}
				if running != strings.Contains(err.Error(), "the server runs again") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// A source that cannot be opened is found before the server is stopped.
func TestSourceFails(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	before, err := postmaster.Find(s.hook.Config.PGData)
	must(t, err)
	s.fail["open source"] = rewind.ErrSourceAuth
	if _, err := s.hook.Rejoin(t.Context()); !errors.Is(err, rewind.ErrSourceAuth) {
		t.Errorf("got %v", err)
	}
	after, err := postmaster.Find(s.hook.Config.PGData)
	must(t, err)
	if got := s.seen(); after != before || !slices.Equal(got, []string{"lock", "release"}) {
		t.Errorf("did %v, pid was %d, is %d", got, before, after)
	}
}

// Ctrl-C: the run ends, the lock is given back, and the node runs as before.
func TestCancelled(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	s.on["plan"] = func() { cancel(errTest) }
	_, err := s.hook.Rejoin(ctx)
	if !errors.Is(err, errTest) {
		t.Errorf("got %v, want the cause", err)
	}
	if got := s.seen(); !slices.Equal(got, []string{"lock", "plan", "release"}) || !s.running() {
		t.Errorf("did %v, running %v", got, s.running())
	}
}

// After the first change there is no pg_control, and nothing may be started.
func TestFailureAfterChange(t *testing.T) {
	s := newStage(t)
	s.startServer(t)
	control := filepath.Join(s.hook.Config.PGData, controlFile)
	s.on["apply"] = func() { must(t, os.Remove(control)) }
	s.fail["check lock"] = dcs.ErrLockLost
	report, err := s.hook.Rejoin(t.Context())
	if !errors.Is(err, dcs.ErrLockLost) || !strings.Contains(err.Error(), "run it again") {
		t.Errorf("got %v", err)
	}
	if s.running() {
		t.Error("a server was started on a half-done directory")
	}
	if !report.SlotCreated || len(report.Warnings) == 0 || !strings.Contains(report.Warnings[0], "slot") {
		t.Errorf("got warnings %q, want one about the slot that stays", report.Warnings)
	}
}

// With use_slots of the cluster alone, a user who may not make slots does without.
func TestSlotWithoutPrivilege(t *testing.T) {
	s := newStage(t)
	s.fail["slot n1"] = rewind.ErrSourcePrivilege
	s.on["release"] = s.streams(2)
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if s.options.Standby.Slot != "" || report.Standby.PrimarySlotName != "" || len(report.Warnings) != 1 {
		t.Errorf("got slot %q, report %+v, warnings %q", s.options.Standby.Slot, report.Standby, report.Warnings)
	}
}

func TestLocked(t *testing.T) {
	host, err := os.Hostname()
	must(t, err)
	tests := []struct {
		name  string
		owner dcs.Owner
		want  error
		not   error
	}{
		{"another node", dcs.Owner{Member: "n3", Host: host, PID: 1 << 30}, dcs.ErrLocked, ErrInProgress},
		{"this node, alive", dcs.Owner{Member: "n1", Host: host, PID: os.Getppid()}, ErrInProgress, nil},
		{"this node, on another host", dcs.Owner{Member: "n1", Host: "x" + host, PID: 1 << 30}, ErrInProgress, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.startServer(t)
			s.fail["lock"] = &dcs.LockedError{Key: "k", Owner: tt.owner}
			_, err := s.hook.Rejoin(t.Context())
			if !errors.Is(err, tt.want) || !errors.Is(err, dcs.ErrLocked) || tt.not != nil && errors.Is(err, tt.not) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if s.count("lock") != 1 || !s.running() {
				t.Errorf("asked %d times, running %v", s.count("lock"), s.running())
			}
		})
	}

	t.Run("this node, dead", func(t *testing.T) {
		s := newStage(t)
		s.fail["lock"] = &dcs.LockedError{Key: "k", Owner: dcs.Owner{Member: "n1", Host: host, PID: 1 << 30}}
		s.on["lock"] = func() {
			if s.count("lock") == 2 { // what is set now counts from the third time on
				s.set(func() { delete(s.fail, "lock") })
			}
		}
		s.on["release"] = s.streams(2)
		if _, err := s.hook.Rejoin(t.Context()); err != nil || s.count("lock") != 3 {
			t.Errorf("got %v after %d attempts, want to have waited", err, s.count("lock"))
		}
	})
}

func TestNotStreaming(t *testing.T) {
	tests := []struct {
		name   string
		sender *Streaming
	}{
		{"no walsender", nil},
		{"catching up", &Streaming{State: "catchup", Timeline: 2}},
		{"on the old timeline", &Streaming{State: "streaming", Timeline: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.hook.Config.StreamTimeout = 300 * time.Millisecond
			s.walsender = tt.sender
			report, err := s.hook.Rejoin(t.Context())
			var hint interface{ Hint() string }
			if !errors.Is(err, ErrNotStreaming) || !errors.As(err, &hint) || hint.Hint() == "" {
				t.Errorf("got %v", err)
			}
			if !slices.Equal(s.seen(), theWork) || !s.running() || report.Outcome != "" {
				t.Errorf("did %v, running %v, outcome %q", s.seen(), s.running(), report.Outcome)
			}
		})
	}
}

// A leader that does not show its walsenders is not asked until the time is over.
func TestStreamingNotShown(t *testing.T) {
	s := newStage(t)
	s.on["release"] = func() { s.set(func() { s.fail["streaming"] = rewind.ErrSourcePrivilege }) }
	_, err := s.hook.Rejoin(t.Context())
	if !errors.Is(err, ErrNotStreaming) || !errors.Is(err, rewind.ErrSourcePrivilege) || s.count("streaming") != 1 {
		t.Errorf("got %v after %d questions", err, s.count("streaming"))
	}
}

// A server that dies after its start is not waited for.
func TestServerDiesAfterStart(t *testing.T) {
	s := newStage(t)
	r := s.hook.begin()
	r.cfg.Control = ControlPGCtl
	r.server = &server{cfg: r.cfg}
	r.facts, r.report.Decision = s.facts, Decide(s.facts)
	write(t, filepath.Join(s.hook.Config.PGData, "current_logfiles"), "stderr pg.log\n")
	write(t, filepath.Join(s.hook.Config.PGData, "pg.log"), "FATAL:  no such timeline\n")
	err := r.awaitStreaming(t.Context(), time.Now())
	if !errors.Is(err, ErrServerControl) || !strings.Contains(err.Error(), "no such timeline") {
		t.Errorf("got %v, want what the log says", err)
	}
}

// The leader may restart while it is asked, and its manager may drop the slot.
func TestStreamingAgainstOdds(t *testing.T) {
	s := newStage(t)
	s.hook.Config.StreamTimeout = 10 * time.Second
	s.on["release"] = func() { s.set(func() { s.fail["streaming"] = rewind.ErrSourceUnavailable }) }
	time.AfterFunc(slotPoll+time.Second, func() {
		s.set(func() { delete(s.fail, "streaming") })
		s.streams(2)()
	})
	_, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if s.count("slot n1") < 2 {
		t.Errorf("the slot was looked after %d times", s.count("slot n1"))
	}
}

func TestReleaseFails(t *testing.T) {
	s := newStage(t)
	s.fail["release"] = dcs.ErrUnavailable
	s.on["release"] = s.streams(2)
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if len(report.Warnings) != 1 || report.Outcome != OutcomeRejoined {
		t.Errorf("got %+v", report)
	}
}
