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

// long is more patience than any of these tests uses up.
const long = 10 * time.Second

// What passes before anything is done costs nothing but its time.
func TestWaitsBeforeTheWork(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*stage)
		told  string
		locks int
	}{
		{"etcd is away", func(s *stage) { s.failTimes("topology", 3, dcs.ErrUnavailable) }, "etcd (etcd cannot be reached)", 1},
		{"the leader's server is away", func(s *stage) { s.failTimes("connect", 3, rewind.ErrSourceUnavailable) }, "the leader", 1},
		{"the leader's server starts up", func(s *stage) { s.failTimes("upstream", 3, rewind.ErrSourceNotReady) }, "the leader", 1},
		{"nobody leads", func(s *stage) {
			leader := s.facts.Topology.Leader
			s.facts.Topology.Leader = nil
			s.on["topology"] = func() {
				if s.count("topology") == 3 {
					s.set(func() { s.facts.Topology.Leader = leader })
				}
			}
		}, "a leader (nobody holds the leader key of main)", 1},
		{"the leader is in recovery", func(s *stage) {
			s.facts.Upstream.InRecovery = true
			s.on["upstream"] = func() {
				if s.count("upstream") == 3 {
					s.set(func() { s.facts.Upstream.InRecovery = false })
				}
			}
		}, "the leader n2 (the server of the leader n2 is in recovery)", 1},
		{"another node is at work", func(s *stage) {
			s.failTimes("lock", 3, &dcs.LockedError{Key: "k", Owner: dcs.Owner{Member: "n3", Operation: "rejoin"}})
		}, "the lock (n3 has it for rejoin)", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.patient(long)
			tt.setup(s)
			s.on["release"] = s.streams(2)
			var waits []Waiting
			s.hook.OnWait = func(w Waiting) { waits = append(waits, w) }
			var shown []string
			s.hook.OnStep = func(step string) { shown = append(shown, step) }
			report, err := s.hook.Rejoin(t.Context())
			must(t, err)
			work := append(slices.Repeat([]string{"lock"}, tt.locks-1), theWork...)
			if got := s.seen(); !slices.Equal(got, work) || report.Outcome != OutcomeRejoined {
				t.Errorf("did %v, want %v; outcome %q", got, work, report.Outcome)
			}
			if len(waits) == 0 || !strings.Contains(waits[0].String(), "waiting for "+tt.told) || waits[0].Limit != long {
				t.Errorf("told %v, want a wait for %s", waits, tt.told)
			}
			if len(report.Warnings) != 1 || !strings.HasPrefix(report.Warnings[0], "waited 0 s for "+tt.told) {
				t.Errorf("got warnings %q", report.Warnings)
			}
			if got := stepNames(report); !slices.Equal(got, []string{"wait", "look", "lock", "look again", "stop", "plan", "slot", "apply", "start", "stream"}) {
				t.Errorf("got steps %v", got)
			}
			if n := countOf(shown, "look"); n != 1 {
				t.Errorf("%d looks were shown, want the first only: %v", n, shown)
			}
		})
	}
}

func countOf(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}

// What passes during the work leads to a new plan. The server, which was
// stopped for it, is not started between two attempts.
func TestWaitsDuringTheWork(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*stage)
		want  []string
	}{
		{"source away while planning", func(s *stage) { s.failTimes("plan", 1, rewind.ErrSourceUnavailable) },
			append([]string{"lock", "plan", "release"}, theWork...)},
		{"source away while fetching", func(s *stage) { s.failTimes("apply", 2, rewind.ErrSourceUnavailable) },
			slices.Concat(theWork[:4], []string{"release"}, theWork[:4], []string{"release"}, theWork)},
		{"lock lost", func(s *stage) {
			s.on["apply"] = func() {
				if s.count("apply") == 1 {
					s.lock.lose(dcs.ErrLockLost)
				}
			}
		}, slices.Concat(theWork[:4], []string{"release"}, theWork)},
		{"the source is another one now", func(s *stage) { s.failTimes("apply", 1, rewind.ErrSourceChanged) },
			slices.Concat(theWork[:4], []string{"release"}, theWork)},
		{"etcd away at the last moment", func(s *stage) { s.failTimes("check lock", 2, dcs.ErrUnavailable) },
			[]string{"lock", "plan", "slot n1", "apply", "check lock", "check lock", "check lock", "release"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			s.patient(long)
			s.startServer(t)
			tt.setup(s)
			s.on["release"] = func() {
				if s.running() {
					t.Error("the server was started between two attempts")
				}
				if got := s.seen(); got[len(got)-2] == "check lock" {
					s.streams(2)()
				}
			}
			report, err := s.hook.Rejoin(t.Context())
			must(t, err)
			if got := s.seen(); !slices.Equal(got, tt.want) || report.Outcome != OutcomeRejoined || !s.running() {
				t.Errorf("did %v, want %v; outcome %q", got, tt.want, report.Outcome)
			}
		})
	}
}

// The leader changes during the work: the next attempt is against the new one,
// and the slot on the former one is nobody's any more, whether the new one has
// a slot for this node already or not.
func TestLeaderChangesDuringTheWork(t *testing.T) {
	for name, there := range map[string]bool{"slot is made": false, "slot is there": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.patient(long)
			s.on["apply"] = func() {
				if s.count("apply") == 1 {
					s.set(func() { s.newLeader(); s.slotThere = there })
					s.lock.lose(dcs.ErrLeaderChanged)
				}
			}
			s.on["release"] = func() {
				if s.count("check lock") == 1 {
					s.streams(3)()
				}
			}
			report, err := s.hook.Rejoin(t.Context())
			must(t, err)
			if want := slices.Concat(theWork[:4], []string{"release"}, theWork); !slices.Equal(s.seen(), want) {
				t.Errorf("did %v, want %v", s.seen(), want)
			}
			if report.Leader != "n3" || !strings.Contains(s.options.Standby.Conninfo, "host=10.0.0.3") || report.Outcome != OutcomeRejoined {
				t.Errorf("leader %q, primary_conninfo %q, outcome %q", report.Leader, s.options.Standby.Conninfo, report.Outcome)
			}
			if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], `the slot "n1" stays on n2`) {
				t.Errorf("got warnings %q, want one about the slot on the former leader", report.Warnings)
			}
		})
	}
}

// newLeader makes n3 the leader, on timeline 3; call it by set.
func (s *stage) newLeader() {
	s.facts.Topology.Leader = &dcs.Leader{Name: "n3", CreateRevision: 70, Lease: 11}
	members := slices.DeleteFunc(slices.Clone(s.facts.Topology.Members), func(m dcs.Member) bool { return m.Name == "n3" })
	s.facts.Topology.Members = append(members,
		dcs.Member{Name: "n3", Role: dcs.RolePrimary, State: "running", Host: "10.0.0.3", Port: 5432})
	up := *s.facts.Upstream
	up.Timeline = 3
	s.facts.Upstream = &up
}

// The leader changes while the node, complete and started, is waited for.
func TestLeaderChangesBeforeStreaming(t *testing.T) {
	s := newStage(t)
	s.patient(long)
	s.hook.Config.StreamTimeout = 20 * time.Second
	s.on["apply"] = func() { write(t, filepath.Join(s.hook.Config.PGData, "standby.signal"), "") }
	s.on["release"] = func() {
		if s.count("release") == 1 {
			s.set(s.newLeader)
		} else {
			s.streams(3)()
		}
	}
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if n := s.count("apply"); n != 2 {
		t.Errorf("did %v, want the work twice", s.seen())
	}
	if report.Leader != "n3" || report.Outcome != OutcomeRejoined || report.Streaming == nil || report.Streaming.Timeline != 3 {
		t.Errorf("got leader %q, outcome %q, %+v", report.Leader, report.Outcome, report.Streaming)
	}
}

// The new leader shows the node streaming without another rewind: this run has
// rejoined it all the same.
func TestStreamsFromNewLeaderByItself(t *testing.T) {
	s := newStage(t)
	s.patient(long)
	s.on["apply"] = func() { write(t, filepath.Join(s.hook.Config.PGData, "standby.signal"), "") }
	s.on["release"] = func() {
		s.set(s.newLeader)
		time.AfterFunc(slotPoll+time.Second, s.streams(3))
	}
	s.walsender = &Streaming{Timeline: 1, State: "startup"} // never enough for the old leader's timeline
	s.hook.Config.StreamTimeout = 20 * time.Second
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if report.Outcome != OutcomeRejoined || report.Streaming == nil {
		t.Errorf("got outcome %q, %+v", report.Outcome, report.Streaming)
	}
}

// What does not pass is no reason for a second attempt, wherever it comes up.
func TestDoesNotWaitForWhatStays(t *testing.T) {
	for what, err := range map[string]error{
		"topology": dcs.ErrAuth, "connect": rewind.ErrSourceAuth, "lock": dcs.ErrAuth, "open source": rewind.ErrSourcePrivilege,
		"plan": rewind.ErrSourceWAL, "apply": rewind.ErrNoSpace, "check lock": dcs.ErrAuth,
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			s.patient(long)
			s.startServer(t)
			s.fail[what] = err
			_, got := s.hook.Rejoin(t.Context())
			if !errors.Is(got, err) || s.count(what) != 1 {
				t.Errorf("got %v after %d tries", got, s.count(what))
			}
			if !s.running() {
				t.Error("the server does not run as before")
			}
		})
	}
}

// After its time a run gives up, says how long it waited, and leaves the node
// as it was: up, if it was up.
func TestGivesUp(t *testing.T) {
	for _, what := range []string{"topology", "upstream", "plan", "apply"} {
		for _, running := range []bool{true, false} {
			t.Run(what, func(t *testing.T) {
				s := newStage(t)
				s.patient(30 * time.Millisecond)
				if running {
					s.startServer(t)
				}
				s.fail[what] = rewind.ErrSourceUnavailable
				begun := time.Now()
				_, err := s.hook.Rejoin(t.Context())
				if !errors.Is(err, rewind.ErrSourceUnavailable) || !strings.Contains(err.Error(), "(waited 0 s for it)") {
					t.Errorf("got %v", err)
				}
				if s.count(what) < 2 || time.Since(begun) > 10*time.Second {
					t.Errorf("%d tries in %s", s.count(what), time.Since(begun))
				}
				if s.running() != running {
					t.Errorf("running: %v, want %v as before", s.running(), running)
				}
				if stopped := what == "plan" || what == "apply"; running && stopped != strings.Contains(err.Error(), "the server runs again") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// The work was begun and its leader stays away: whatever attempt finds that,
// the last word is that no server can start here.
func TestGivesUpHalfDone(t *testing.T) {
	s := newStage(t)
	s.patient(30 * time.Millisecond)
	s.startServer(t)
	s.fail["apply"] = rewind.ErrSourceUnavailable
	s.on["apply"] = func() {
		must(t, os.Rename(filepath.Join(s.hook.Config.PGData, controlFile), filepath.Join(s.hook.Config.PGData, "away")))
		s.set(func() { s.fail["topology"] = dcs.ErrUnavailable })
	}
	_, err := s.hook.Rejoin(t.Context())
	if !errors.Is(err, dcs.ErrUnavailable) || !strings.Contains(err.Error(), "no server can start here") || s.running() {
		t.Errorf("got %v, running %v", err, s.running())
	}
}

// A run that is told to end while it waits ends at once and puts the server back.
func TestCancelledWhileWaiting(t *testing.T) {
	s := newStage(t)
	s.hook.Config.Wait = time.Hour
	s.hook.pauses = pauses{first: time.Hour, longest: time.Hour}
	s.startServer(t)
	s.fail["apply"] = rewind.ErrSourceUnavailable
	ctx, cancel := context.WithCancelCause(t.Context())
	s.hook.OnWait = func(Waiting) { cancel(errTest) }
	_, err := s.hook.Rejoin(ctx)
	if !errors.Is(err, rewind.ErrSourceUnavailable) || !strings.Contains(err.Error(), "the server runs again") || !s.running() {
		t.Errorf("got %v, running %v", err, s.running())
	}
	if got := s.seen(); !slices.Equal(got, append(slices.Clone(theWork[:4]), "release")) {
		t.Errorf("did %v", got)
	}
}

// The work was done once, and has to be done again for the next leader: what
// counts at the end is what the second attempt has left.
func TestGivesUpTheSecondTime(t *testing.T) {
	s := newStage(t)
	s.patient(30 * time.Millisecond)
	s.hook.Config.StreamTimeout = 20 * time.Second
	s.on["release"] = func() {
		if s.count("release") == 1 {
			s.set(s.newLeader)
		}
	}
	s.on["apply"] = func() {
		if s.count("apply") == 2 {
			must(t, os.Remove(filepath.Join(s.hook.Config.PGData, controlFile)))
			s.set(func() { s.fail["topology"] = dcs.ErrUnavailable })
			s.lock.lose(dcs.ErrLeaderChanged)
		}
	}
	report, err := s.hook.Rejoin(t.Context())
	if !errors.Is(err, dcs.ErrUnavailable) || !strings.Contains(err.Error(), "no server can start here") || s.running() {
		t.Errorf("got %v, running %v", err, s.running())
	}
	if !slices.ContainsFunc(report.Warnings, func(w string) bool { return strings.Contains(w, `the slot "n1" stays on n3`) }) {
		t.Errorf("got warnings %q, want one about the slot", report.Warnings)
	}
}

// A run that is told to end says how the node stands, wherever it is.
func TestCancelledSaysTheState(t *testing.T) {
	for what, want := range map[string]string{
		"plan":      "(nothing was changed)",
		"streaming": "(the data directory is complete, and its server runs)",
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			s.on[what] = func() { cancel(errTest) }
			_, err := s.hook.Rejoin(ctx)
			if !errors.Is(err, errTest) || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// Patience is not given back: a leader that breaks down whenever it is copied
// from is not broken down for ever.
func TestPatienceIsUsedUp(t *testing.T) {
	s := newStage(t)
	s.patient(50 * time.Millisecond)
	s.fail["apply"] = rewind.ErrSourceUnavailable
	if _, err := s.hook.Rejoin(t.Context()); !errors.Is(err, rewind.ErrSourceUnavailable) {
		t.Errorf("got %v", err)
	}
	if n := s.count("apply"); n < 3 || n > 100 {
		t.Errorf("%d tries", n)
	}
}

// A dry run answers at once.
func TestDryRunDoesNotWait(t *testing.T) {
	s := newStage(t)
	s.patient(long)
	s.fail["topology"] = dcs.ErrUnavailable
	if _, err := s.hook.DryRun(t.Context()); !errors.Is(err, dcs.ErrUnavailable) || s.count("topology") != 1 {
		t.Errorf("got %v after %d questions", err, s.count("topology"))
	}
}

// A manager that was told to start the server while the run was waiting has it
// in its hands: what it started is not stopped a second time without a look.
func TestServerStartedWhileWaiting(t *testing.T) {
	s := newStage(t)
	s.patient(long)
	s.startServer(t)
	s.failTimes("plan", 1, rewind.ErrSourceUnavailable)
	var second int
	s.hook.OnWait = func(Waiting) {
		if second == 0 {
			s.startServer(t)
			second, _ = postmaster.Find(s.hook.Config.PGData)
		}
	}
	s.on["release"] = func() {
		if s.count("check lock") == 1 {
			s.streams(2)()
		}
	}
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if !report.Local.Running || report.Local.PID != second || report.Outcome != OutcomeRejoined {
		t.Errorf("the second look found %+v, want the server that was started (%d); outcome %q", report.Local, second, report.Outcome)
	}
}
