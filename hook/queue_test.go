package hook

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

// A queue that moves uses up no patience, however long it takes.
func TestQueueThatMoves(t *testing.T) {
	s := newStage(t)
	s.patient(time.Minute)
	holder := dcs.Owner{Member: "n3", Progress: &dcs.Progress{Phase: "copy", Done: 1 << 30, Total: 2 << 30}}
	s.queue = []dcs.Queued{
		{Place: 2, Of: 2, Holders: []dcs.Owner{holder}},
		{Place: 1, Of: 1, Holders: []dcs.Owner{holder}, Still: 59 * time.Second},
		{Place: 1, Of: 1},
	}
	s.on["release"] = s.streams(2)
	var waits []Waiting
	s.hook.OnWait = func(w Waiting) { waits = append(waits, w) }
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if !slices.Equal(s.seen(), theWork) || report.Outcome != OutcomeRejoined || len(waits) != 3 {
		t.Fatalf("did %v, outcome %q, told of %d waits", s.seen(), report.Outcome, len(waits))
	}
	waits[0].Total = 5 * time.Minute
	want := "waiting for the lock, place 2 of 2 in the queue (n3 is at work: copy, 1.0 GiB of 2.0 GiB (50 %)), for 5 min"
	if got := waits[0].String(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if len(report.Warnings) != 1 || !strings.HasSuffix(report.Warnings[0], "in the queue") {
		t.Errorf("got warnings %q", report.Warnings)
	}
}

// One in which nothing moves is left when patience is used up, and not waited in
// once more; the error says who hangs.
func TestQueueThatStands(t *testing.T) {
	for _, holders := range [][]dcs.Owner{{{Member: "n3", Operation: "rejoin", Progress: &dcs.Progress{Phase: "sync", Still: 300}}}, nil} {
		s := newStage(t)
		s.patient(time.Minute)
		s.queue = []dcs.Queued{{Place: 1, Of: 1, Holders: holders, Still: time.Minute}}
		_, err := s.hook.Rejoin(t.Context())
		if !errors.Is(err, dcs.ErrLocked) || s.count("lock") != 1 || !strings.Contains(err.Error(), "waited 1 min for it") {
			t.Fatalf("asked %d times, got %v", s.count("lock"), err)
		}
		want := "nobody is at work"
		if holders != nil {
			want = `held by member "n3"`
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A leader that changes while this node waits in the queue is decided about anew,
// however long the waiting was each time: that was no trouble.
func TestQueueAndLeaderChanges(t *testing.T) {
	s := newStage(t)
	s.patient(250 * time.Millisecond)
	s.queue, s.eachTakes = []dcs.Queued{{Place: 1, Of: 1}}, 300*time.Millisecond
	s.failTimes("lock", 3, dcs.ErrLeaderChanged)
	s.on["release"] = s.streams(2)
	report, err := s.hook.Rejoin(t.Context())
	must(t, err)
	if s.count("lock") != 4 || report.Outcome != OutcomeRejoined {
		t.Errorf("asked %d times, outcome %q", s.count("lock"), report.Outcome)
	}
}

// What is done under the lock is told to it, and nothing else.
func TestLockIsToldOfTheWork(t *testing.T) {
	s := newStage(t)
	s.on["release"] = s.streams(2)
	_, err := s.hook.Rejoin(t.Context())
	must(t, err)
	var phases []string
	for _, p := range s.told {
		phases = append(phases, p.Phase)
	}
	if want := []string{"look again", "stop", "plan", "slot", "apply"}; !slices.Equal(phases, want) {
		t.Errorf("told %v, want %v", phases, want)
	}
}
