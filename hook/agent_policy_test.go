package hook

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

// The states that an agent may find its node in.
func seenAs(t *testing.T, change func(*Facts)) sight {
	t.Helper()
	f := sound()
	change(&f)
	s := sight{facts: f, decision: Decide(f)}
	if s.decision.Verb == VerbAsk {
		t.Fatal("the facts are not whole")
	}
	return s
}

func crashedPrimary(*Facts) {}

func secondPrimary(f *Facts) { f.Local.Running, f.Local.PID = true, 99 }

func newTerm(f *Facts) { f.Topology.Leader.CreateRevision++ }

func TestAgentConditions(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Facts)
		want   Condition
	}{
		"a primary that crashed":  {crashedPrimary, ConditionDown},
		"a primary that was shut": {func(f *Facts) { f.Local.State = "shut down" }, ConditionDown},
		"a standby that crashed":  {func(f *Facts) { f.Local.StandbySignal, f.Local.State = true, "in archive recovery" }, ConditionDown},
		"a standby that was shut": {func(f *Facts) { f.Local.StandbySignal, f.Local.State = true, "shut down in recovery" }, ConditionStopped},
		"a standby that hangs":    {runningStandby, ConditionStuck},
		"a standby that streams":  {all(runningStandby, func(f *Facts) { f.Upstream.Streaming = true }), ConditionFollows},
		"a second primary":        {secondPrimary, ConditionSecondPrimary},
		"a rewind that was begun": {func(f *Facts) { f.Local.Interrupted = true }, ConditionInterrupted},
		"the leader":              {func(f *Facts) { f.Topology.Leader.Name = "n1" }, ConditionLeads},
		"the leader, running":     {all(secondPrimary, func(f *Facts) { f.Topology.Leader.Name = "n1" }), ConditionLeads},
		"no leader":               {func(f *Facts) { f.Topology.Leader = nil }, ConditionNoLeader},
		"another cluster":         {func(f *Facts) { f.Local.SystemID = 8 }, ConditionRefused},
	} {
		t.Run(name, func(t *testing.T) {
			if got := seenAs(t, tt.change).condition(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := (sight{err: dcs.ErrUnavailable}).condition(); got != ConditionUnknown {
		t.Errorf("with etcd away: %q", got)
	}
}

// watchman plays a sequence of looks against the policy, with a clock of its own.
type watchman struct {
	t   *testing.T
	cfg AgentConfig
	v   vigil
	now time.Time
}

func newWatchman(t *testing.T) *watchman {
	return &watchman{t: t, now: time.Unix(1000, 0), cfg: AgentConfig{DownAfter: 10 * time.Second, StuckAfter: 30 * time.Second, Interval: 10 * time.Second}}
}

// sees looks after so much time; the answer is whether the agent rejoins.
func (w *watchman) sees(after time.Duration, s sight, rejoins bool) step {
	w.t.Helper()
	w.now = w.now.Add(after)
	var st step
	w.v, st = w.cfg.next(w.v, s, w.now)
	if st.rejoin != rejoins || st.line == "" || !st.rejoin && (st.within <= 0 || st.within > w.cfg.Interval) {
		w.t.Errorf("at %s: %+v, want rejoin %v", w.now.Sub(time.Unix(1000, 0)), st, rejoins)
	}
	return st
}

func TestAgentGivesTime(t *testing.T) {
	down, stuck := seenAs(t, crashedPrimary), seenAs(t, runningStandby)
	w := newWatchman(t)
	w.sees(0, down, false)
	w.sees(9*time.Second, down, false)
	w.sees(time.Second, down, true)

	w = newWatchman(t)
	w.sees(0, down, false)
	w.sees(9*time.Second, stuck, false) // somebody has started it: its time begins
	w.sees(29*time.Second, stuck, false)
	w.sees(time.Second, stuck, true)

	w = newWatchman(t)
	w.sees(0, down, false)
	w.sees(9*time.Second, seenAs(t, newTerm), false) // another term: a manager may act on it
	w.sees(9*time.Second, seenAs(t, newTerm), false)
	w.sees(time.Second, seenAs(t, newTerm), true)

	newWatchman(t).sees(0, seenAs(t, func(f *Facts) { f.Local.Interrupted = true }), true)
}

// TestAgentBlind: what nobody has seen to last has not lasted.
func TestAgentBlind(t *testing.T) {
	down, blind := seenAs(t, crashedPrimary), sight{err: dcs.ErrUnavailable}
	w := newWatchman(t)
	w.sees(0, down, false)
	for range 10 {
		w.sees(10*time.Second, blind, false)
	}
	w.sees(time.Second, down, false)
	w.sees(9*time.Second, down, true)
}

func TestAgentLeavesAlone(t *testing.T) {
	for name, s := range map[string]sight{
		"the leader":              seenAs(t, func(f *Facts) { f.Topology.Leader.Name = "n1" }),
		"who streams":             seenAs(t, all(runningStandby, func(f *Facts) { f.Upstream.Streaming = true })),
		"a standby that was shut": seenAs(t, func(f *Facts) { f.Local.StandbySignal, f.Local.State = true, "shut down in recovery" }),
		"no leader":               seenAs(t, func(f *Facts) { f.Topology.Leader = nil }),
		"another cluster":         seenAs(t, func(f *Facts) { f.Local.SystemID = 8 }),
		"a second primary":        seenAs(t, secondPrimary),
		"nothing seen":            {err: errors.New("etcd is away")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatchman(t)
			for range 1000 {
				w.sees(time.Minute, s, false)
			}
		})
	}
}

func TestAgentFences(t *testing.T) {
	w := newWatchman(t)
	if line := w.sees(0, seenAs(t, secondPrimary), false).line; !strings.Contains(line, "agent.fence_after is not set") {
		t.Errorf("it says %q", line)
	}
	w.cfg.FenceAfter = time.Minute
	w.sees(0, seenAs(t, secondPrimary), false)
	w.sees(59*time.Second, seenAs(t, secondPrimary), false)
	w.sees(time.Second, seenAs(t, secondPrimary), true)
}

// TestAgentDoesNotSpin: failures make it slower, up to a bound; a new leader, and
// nothing else that is still wrong, makes it quick again.
func TestAgentDoesNotSpin(t *testing.T) {
	down := seenAs(t, crashedPrimary)
	w := newWatchman(t)
	w.sees(0, down, false)
	w.sees(10*time.Second, down, true)
	for _, pause := range []time.Duration{10, 20, 40, 80, 160, 320, 600, 600, 600} {
		w.v = w.v.failed(w.now, "the disk is full")
		line := w.sees((pause-1)*time.Second, down, false).line
		if !strings.Contains(line, "the disk is full") {
			t.Errorf("it says %q", line)
		}
		w.sees(time.Second, down, true)
	}
	w.v = w.v.failed(w.now, "the disk is full")
	w.sees(time.Second, seenAs(t, runningStandby), false) // started, and stuck: still not well
	w.sees(500*time.Second, seenAs(t, runningStandby), false)
	w.sees(time.Second, seenAs(t, all(runningStandby, newTerm)), false)
	w.sees(30*time.Second, seenAs(t, all(runningStandby, newTerm)), true)
	w.v = w.v.succeeded()
	w.sees(0, down, false)
	w.sees(10*time.Second, down, true)
}
