package hook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind"
)

// fakeManager is Patroni on the stage's node.
type fakeManager struct{ s *stage }

func (m fakeManager) Reinitialize(_ context.Context, apiURL string) error {
	if apiURL != "http://10.0.0.1:8008/patroni" {
		return errors.New("asked at " + apiURL)
	}
	return m.s.do("reinitialize")
}

// managed makes a stage whose node runs under a live manager.
func managedStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.startServer(t)
	s.usePGCtl(t)
	s.hook.Config.Control, s.hook.Manager = ControlPatroni, fakeManager{s}
	s.facts.Topology.Members[2] = dcs.Member{Name: "n1", State: "running", Lease: 3, APIURL: "http://10.0.0.1:8008/patroni"}
	return s
}

func TestReinitialize(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name    string
		arrange func(*stage)
		want    []string
		err     error
	}{
		{"it streams in the end", func(s *stage) { s.on["reinitialize"] = s.streams(2) }, []string{"plan", "reinitialize"}, nil},
		{"nothing has diverged", func(s *stage) { s.plan.Strategy = rewind.StrategyNone }, []string{"plan"}, ErrNotDiverged},
		{"no rewind is possible", func(s *stage) { s.fail["plan"] = rewind.ErrNoStrategy }, []string{"plan"}, rewind.ErrNoStrategy},
		{"the manager refuses", func(s *stage) { s.fail["reinitialize"] = broken }, []string{"plan", "reinitialize"}, ErrManagerRefused},
		{"it would make a copy", func(s *stage) { s.hook.Config.ReplicaMethods = &ReplicaMethods{} }, []string{"plan"}, ErrManagerRefused},
		{"it never streams", func(*stage) {}, []string{"plan", "reinitialize"}, ErrNotStreaming},
		{"it becomes the leader", func(s *stage) {
			s.on["reinitialize"] = func() { s.set(func() { l := *s.facts.Topology.Leader; l.Name = "n1"; s.facts.Topology.Leader = &l }) }
		}, []string{"plan", "reinitialize"}, dcs.ErrLeaderChanged},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := managedStage(t)
			if dry, err := s.hook.DryRun(t.Context()); err != nil || len(dry.Warnings) == 0 || !strings.Contains(dry.Warnings[0], "would be asked") {
				t.Errorf("a dry run: %v, %v", err, dry.Warnings)
			}
			s.set(func() { s.did = nil })
			test.arrange(s)
			report, err := s.hook.Rejoin(t.Context())
			if !errors.Is(err, test.err) || test.err == nil && err != nil {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if got := s.seen(); !slices.Equal(got, test.want) {
				t.Errorf("did %v, want %v", got, test.want)
			}
			if err == nil && report.Outcome != OutcomeReinitialized {
				t.Errorf("outcome %q", report.Outcome)
			}
			if !s.running() {
				t.Error("the server was stopped by us")
			}
		})
	}
}

// TestManagerComes: the callback of a Patroni that has just been started comes
// before its member key.
func TestManagerComes(t *testing.T) {
	for _, test := range []struct {
		when string
		want []string
	}{
		{"topology", []string{"plan", "reinitialize"}}, // before the second look
		{"lock", []string{"lock", "release", "plan", "reinitialize"}},
	} {
		t.Run(test.when, func(t *testing.T) {
			t.Parallel()
			s := managedStage(t)
			s.patient(time.Minute)
			me := s.facts.Topology.Members[2]
			s.facts.Topology.Members[2] = dcs.Member{Name: "n9"}
			s.on[test.when] = func() {
				if s.count("topology") != 1 {
					s.set(func() { s.facts.Topology.Members[2] = me })
				}
			}
			s.on["reinitialize"] = s.streams(2)
			report, err := s.hook.Rejoin(t.Context())
			if got := s.seen(); err != nil || !slices.Equal(got, test.want) || report.Outcome != OutcomeReinitialized {
				t.Errorf("did %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// TestHandover: who calls us starts the server and has the settings.
func TestHandover(t *testing.T) {
	s := newStage(t)
	s.hook.Config.Control, s.hook.Config.StopCommand, s.hook.Config.StartCommand = ControlNone, "", ""
	s.hook.Config.Slots, s.hook.Config.Handover = SlotsOff, true
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if got, want := s.seen(), []string{"lock", "plan", "apply", "check lock", "release"}; !slices.Equal(got, want) {
		t.Errorf("did %v, want %v", got, want)
	}
	if o := s.options; !o.Standby.SignalOnly || o.Standby.Conninfo != "" || o.KeepUndo || report.Standby != nil {
		t.Errorf("options %+v, standby %+v, report %+v", o, o.Standby, report.Standby)
	}
	if s.running() {
		t.Error("the server was started")
	}
	s.plan.Strategy = rewind.StrategyNone
	if _, err := s.hook.Rejoin(t.Context()); !errors.Is(err, ErrNotDiverged) {
		t.Errorf("a node with nothing to rewind: %v", err)
	}
}
