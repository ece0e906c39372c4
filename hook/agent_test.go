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

// watch is an agent that runs, with what it told.
type watch struct {
	agent    *Agent
	lines    chan AgentStatus
	reports  chan error
	ended    chan error
	stopping context.CancelCauseFunc
}

var errStopped = errors.New("stopped by the test")

func startAgent(t *testing.T, s *stage, c AgentConfig) *watch {
	t.Helper()
	w := &watch{agent: NewAgent(s.hook, c), lines: make(chan AgentStatus, 1000), reports: make(chan error, 100), ended: make(chan error, 1)}
	w.agent.OnStatus = func(st AgentStatus) { w.lines <- st }
	w.agent.OnReport = func(_ *Report, err error) { w.reports <- err }
	ctx, cancel := context.WithCancelCause(t.Context())
	w.stopping = cancel
	go func() { w.ended <- w.agent.Run(ctx) }()
	t.Cleanup(func() { cancel(errStopped) })
	return w
}

// quick is an agent's patience for tests.
func quick() AgentConfig {
	return AgentConfig{Interval: 10 * time.Millisecond, DownAfter: time.Millisecond, StuckAfter: time.Millisecond}
}

// until waits for a status of that condition with that text in its line.
func (w *watch) until(t *testing.T, c Condition, text string) {
	t.Helper()
	deadline := time.After(long)
	for {
		select {
		case st := <-w.lines:
			if st.Condition == c && strings.Contains(st.Line, text) {
				return
			}
		case <-deadline:
			t.Fatalf("it never told of %q with %q", c, text)
		}
	}
}

func (w *watch) end(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-w.ended:
		if !errors.Is(err, want) {
			t.Errorf("it ended with %v, want %v", err, want)
		}
	case <-time.After(long):
		t.Fatal("it did not end")
	}
}

// TestAgentRejoins: the node is down, the agent brings it back, once.
func TestAgentRejoins(t *testing.T) {
	s := newStage(t)
	s.on["release"] = s.streams(2)
	w := startAgent(t, s, quick())
	w.until(t, ConditionDown, "rejoining")
	if err := <-w.reports; err != nil {
		t.Fatal(err)
	}
	// The stage's server runs, and no signal file is there: this is what a leader sees of it.
	s.set(func() { s.facts.Topology.Leader = &dcs.Leader{Name: "n1", CreateRevision: 60} })
	w.until(t, ConditionLeads, "this node is the leader")
	w.stopping(errStopped)
	w.end(t, errStopped)
	if got := s.seen(); !slices.Equal(got, theWork) {
		t.Errorf("did %v, want %v", got, theWork)
	}
}

// TestAgentWaitsForEtcd: while etcd is away nothing is done, and it is said.
func TestAgentWaitsForEtcd(t *testing.T) {
	s := newStage(t)
	s.fail["topology"] = dcs.ErrUnavailable
	s.on["release"] = s.streams(2)
	w := startAgent(t, s, quick())
	w.until(t, ConditionUnknown, "etcd cannot be reached")
	if got := s.seen(); len(got) > 0 {
		t.Errorf("did %v", got)
	}
	s.set(func() { delete(s.fail, "topology") })
	w.until(t, ConditionDown, "rejoining")
	if err := <-w.reports; err != nil {
		t.Error(err)
	}
}

// TestAgentTriesAgain: a rejoin that failed is told of, and tried again later, not
// at once.
func TestAgentTriesAgain(t *testing.T) {
	s := newStage(t)
	s.fail["plan"] = rewind.ErrNoStrategy
	w := startAgent(t, s, quick())
	if err := <-w.reports; !errors.Is(err, rewind.ErrNoStrategy) {
		t.Fatal(err)
	}
	w.until(t, ConditionDown, "the last rejoin failed")
	if n := s.count("plan"); n != 1 {
		t.Errorf("%d plans", n)
	}
	// Another leader is another chance.
	s.set(func() {
		delete(s.fail, "plan")
		s.facts.Topology.Leader = &dcs.Leader{Name: "n2", CreateRevision: 60, Lease: 9}
	})
	s.on["release"] = s.streams(2)
	w.agent.Wake()
	if err := <-w.reports; err != nil {
		t.Error(err)
	}
}

// TestAgentFinishes: it ends when it is told to, and not in the middle of work.
func TestAgentFinishes(t *testing.T) {
	s := newStage(t)
	var w *watch
	s.on["apply"] = func() { w.agent.Finish() }
	s.on["release"] = s.streams(2)
	began := make(chan struct{})
	s.on["lock"] = func() { <-began }
	w = startAgent(t, s, quick())
	close(began)
	w.end(t, nil)
	if err := <-w.reports; err != nil {
		t.Error(err)
	}
}

// TestAgentWoken: a change of the leader key is looked at at once.
func TestAgentWoken(t *testing.T) {
	s := newStage(t)
	s.facts.Topology.Leader.Name = "n1"
	c := quick()
	c.Interval = time.Hour
	calls := make(chan func(), 1)
	a := NewAgent(s.hook, c)
	lines := make(chan AgentStatus, 100)
	a.OnStatus = func(st AgentStatus) { lines <- st }
	a.Watch = func(ctx context.Context, wake func()) error {
		calls <- wake
		<-ctx.Done()
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	wake := <-calls
	if st := <-lines; st.Condition != ConditionLeads {
		t.Fatalf("%+v", st)
	}
	s.set(func() { s.facts.Topology.Leader = nil })
	wake()
	if st := <-lines; st.Condition != ConditionNoLeader {
		t.Errorf("%+v", st)
	}
	cancel(errStopped)
	if err := <-ended; !errors.Is(err, errStopped) {
		t.Error(err)
	}
}

// TestAgentRefusesItsConfiguration: nothing else ends an agent by itself.
func TestAgentRefusesItsConfiguration(t *testing.T) {
	s := newStage(t)
	s.hook.Config.Name = ""
	if err := NewAgent(s.hook, quick()).Run(t.Context()); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}
