package hook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/dcs"
)

// fakePauser pauses the stage's cluster; its managers see that at once.
type fakePauser struct {
	s       *stage
	foreign bool
	// held is how often another process still holds the pause; nil for never.
	held *int
}

func (p fakePauser) Pause(context.Context, dcs.PauseRequest) (Pause, error) {
	err := p.s.do("pause")
	p.s.set(func() { p.s.managers(true) })
	return p, err
}

func (p fakePauser) Foreign() bool { return p.foreign }

func (p fakePauser) Resume(ctx context.Context, _ func(dcs.Owner) bool) (dcs.Resumed, error) {
	if ctx.Err() != nil {
		return "", errors.New("resumed with a context that has ended")
	}
	if p.held != nil && *p.held > 0 {
		*p.held--
		return dcs.ResumedHeld, nil
	}
	p.s.set(func() { p.s.managers(false) })
	return dcs.ResumedNow, p.s.do("resume")
}

func (p fakePauser) EndPause(context.Context, func(dcs.Owner) bool) (dcs.Resumed, error) {
	return dcs.ResumedNot, p.s.do("end pause")
}

// managers makes all members live ones that have seen a pause, or its end.
func (s *stage) managers(paused bool) {
	members := slices.Clone(s.facts.Topology.Members)
	for i := range members {
		members[i].Lease, members[i].Paused = 7, paused
		if members[i].State == "stopped" {
			members[i].State = "running"
		}
	}
	s.facts.Topology.Members, s.facts.Topology.Config.Paused = members, paused
}

// TestPausedRun: the cluster is paused before anything is done and given back at
// the end, however that is reached.
func TestPausedRun(t *testing.T) {
	for _, test := range []struct {
		name    string
		arrange func(*stage)
		want    []string
		err     error
	}{
		{"done", func(s *stage) { s.on["apply"] = s.streams(2) },
			[]string{"pause", "lock", "plan", "slot n1", "apply", "check lock", "release", "resume"}, nil},
		{"it fails", func(s *stage) { s.fail["plan"] = errors.New("broken") },
			[]string{"pause", "lock", "plan", "release", "resume"}, nil},
		{"it cannot be paused", func(s *stage) { s.fail["pause"] = dcs.ErrAuth },
			[]string{"pause", "end pause"}, dcs.ErrAuth},
		{"nothing to do", func(s *stage) {
			s.facts.Topology.Leader.Name = "n1"
		}, []string{"end pause"}, ErrIsLeader},
		{"the leader goes while it is paused", func(s *stage) {
			s.patient(time.Minute)
			s.failTimes("lock", 1, ErrNoLeader)
			s.on["apply"] = s.streams(2)
		}, []string{"pause", "lock", "resume", "pause", "lock", "plan", "slot n1", "apply", "check lock", "release", "resume"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			s.hook.Pauser = fakePauser{s: s}
			s.managers(false)
			test.arrange(s)
			s.startServer(t)
			report, err := s.hook.Rejoin(t.Context())
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if got := s.seen(); !cmp.Equal(got, test.want) {
				t.Errorf("it did %v, want %v; error %v, warnings %v", got, test.want, err, report.Warnings)
			}
		})
	}
}

// TestPauseOutlivesItsHolder: the hold of a host that is lost ends with its lease,
// and somebody has to be there then.
func TestPauseOutlivesItsHolder(t *testing.T) {
	s, held := newStage(t), 3
	s.patient(time.Minute)
	s.hook.Pauser = fakePauser{s: s, held: &held}
	s.managers(false)
	s.startServer(t)
	s.on["apply"] = s.streams(2)
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if held != 0 || s.count("resume") != 1 {
		t.Errorf("the pause is still held %d times, and was ended %d times; warnings %v", held, s.count("resume"), report.Warnings)
	}
}

// TestPauseUnseen: who has not seen the pause would interfere.
func TestPauseUnseen(t *testing.T) {
	top := dcs.Topology{Members: []dcs.Member{
		{Name: "a", Lease: 1, Paused: true, State: "running"}, {Name: "b", Lease: 1, State: "running"}, {Name: "c", State: "running"},
		{Name: "d", Lease: 1, State: "stopped"},
	}}
	if got := strings.Join(notPaused(top), " "); got != "b" {
		t.Errorf("not paused: %q, want b", got)
	}
}
