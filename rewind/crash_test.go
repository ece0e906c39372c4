package rewind_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// everyStep is the flag of make test-crash.
var everyStep = flag.Bool("crash", false, "come to harm at every step and on every major, not at some on one")

// errFault is what a change ends with that fails.
var errFault = errors.New("failed by the test")

// crashMatrix is a scene whose old primary is rewound again and again, each time
// on a fresh copy, and comes to harm before each of the changes that this makes.
type crashMatrix struct {
	*crashScene
	*crashProofs
	*crashLine
	steps []string
	// latch and unlatch are the steps between which no server can start.
	latch, unlatch int
	// salvage is the WAL that only the old primary had.
	salvage tree
	// dropIn: the first run is that of the program that is called pg_rewind.
	dropIn bool
}

// TestCrashMatrix is killed, meets an error and runs out of space before each change
// that a rewind makes. After each of these the same command finishes the work,
// also from another leader that has taken over meanwhile, and undo takes it back;
// and in between no server starts. With -crash at every change and on every major.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	if !*everyStep {
		new(crashTable).major(t, rewindtest.Newest(t))
		return
	}
	table := &crashTable{}
	rewindtest.ForEachMajor(t, table.major)
	fmt.Print(table)
}

func (c *crashTable) major(t *testing.T, install rewindtest.Install) {
	line, began := c.line(install.Version), time.Now()
	m := newCrashMatrix(t, install, line)
	t.Run("points", func(t *testing.T) {
		for _, at := range m.points() {
			t.Run(m.name(at), func(t *testing.T) { t.Parallel(); m.point(t, at) })
		}
		t.Run("full disk", func(t *testing.T) { t.Parallel(); m.fullDisk(t) })
		m.twice(t)
		m.backTwice(t)
		m.dropInFirst(t)
	})
	line.points, line.starts, line.took = len(m.points()), m.started, time.Since(began)
	t.Logf("\n%s", line)
}

func newCrashMatrix(t *testing.T, install rewindtest.Install, line *crashLine) *crashMatrix {
	t.Helper()
	m := &crashMatrix{crashScene: newCrashScene(t, install), crashLine: line}
	m.crashProofs = newCrashProofs(t, m.crashScene)
	m.learn(t)
	return m
}

// learn rewinds without interruption and notes the steps.
func (m *crashMatrix) learn(t *testing.T) {
	t.Helper()
	whole := filepath.Join(m.dir, fmt.Sprintf("whole%v", m.dropIn))
	var err error
	must(t, rewindtest.CopyDir(m.origin, whole))
	m.steps = m.crashSteps(t, whole, m.leaders[0], m.dropIn)
	m.latch = slices.Index(m.steps, "rename global/pg_control")
	m.unlatch = slices.Index(m.steps, "publish global/pg_control")
	if m.latch < 0 || m.unlatch < m.latch {
		t.Fatalf("pg_control leaves at step %d and comes back at step %d", m.latch, m.unlatch)
	}
	t.Logf("%d steps, pg_control leaves at %d, comes back at %d", len(m.steps), m.latch, m.unlatch)
	if !m.dropIn {
		m.salvage, err = walIn(salvageOf(whole))
		must(t, err)
		if len(m.salvage) == 0 {
			t.Error("no WAL was salvaged")
		}
	}
	must(t, m.prove(t, whole, m.leaders[0]))
}

func (m *crashMatrix) name(at int) string { return fmt.Sprintf("%03d %s", at, m.steps[at]) }

// points is where to interrupt.
func (m *crashMatrix) points() []int { return crashPoints(m.steps, m.latch, m.unlatch) }

// crashPoints are all steps with -crash, and else the first of each kind, those
// about the ones that count, and one now and then.
func crashPoints(steps []string, about ...int) []int {
	const now = 6
	var out []int
	seen := map[string]bool{}
	for i, step := range steps {
		kind, _, _ := strings.Cut(step, " ")
		counts := slices.ContainsFunc(about, func(a int) bool { return i >= a-1 && i <= a+1 })
		if *everyStep || counts || !seen[kind] || i%(len(steps)/now+1) == 0 {
			out = append(out, i)
		}
		seen[kind] = true
	}
	return out
}

// left is the state in which a rewind leaves a directory that ended before a step.
func (m *crashMatrix) left(at int) left {
	switch {
	case at <= m.latch:
		return untouched
	case at <= m.unlatch:
		return halfDone
	}
	return finished
}

// place makes a directory for the copies of one journey, which goes with the test.
func (m *crashMatrix) place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(m.dir, "")
	must(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// interrupt rewinds a copy and lets one change fail. It returns two directories:
// killed is what was there before that change, which is all that a kill leaves, and
// failed is what the run has left that was told of the error.
func (m *crashMatrix) interrupt(t *testing.T, at int) (killed, failed string, err error) {
	t.Helper()
	place := m.place(t)
	killed, failed = filepath.Join(place, "killed"), filepath.Join(place, "failed")
	if err := rewindtest.CopyDir(m.origin, failed); err != nil {
		return "", "", err
	}
	made := 0
	_, err = crashRun{dir: failed, conninfo: m.leaders[0].Conninfo(), dropIn: m.dropIn, salvage: !m.dropIn, before: func(op, path string) error {
		made++
		switch step := op + " " + path; {
		case made != at+1:
			return nil
		case step != m.steps[at]:
			return fmt.Errorf("step %d is %q this time, was %q", at, step, m.steps[at])
		}
		return errors.Join(errFault, copyAll(failed, killed)) // all other goroutines wait
	}}.do()
	salvaging := at > m.unlatch && strings.HasPrefix(m.steps[at], "salvage ") // only a warning: the work is done
	if !errors.Is(err, errFault) && !(err == nil && salvaging) {
		return "", "", fmt.Errorf("ended with %w, want the error of the test", err)
	}
	return killed, failed, nil
}

// point does all there is at one step, but for a full disk.
func (m *crashMatrix) point(t *testing.T, at int) {
	killed, failed, err := m.interrupt(t, at)
	must(t, err)
	a, err := treeSince(killed, m.crashScene.before)
	must(t, err)
	b, err := treeSince(failed, m.crashScene.before)
	must(t, err)
	m.journeys(t, m.left(at), "kill", killed)
	if a.hash(true) == b.hash(true) {
		m.same("error")
		return
	}
	m.journeys(t, m.left(at), "error", failed)
}

// journeys goes each of the ways from what a fault has left at a step.
func (m *crashMatrix) journeys(t *testing.T, state left, fault, dir string) {
	t.Helper()
	if err := m.checkLeft(t, dir, fault, state); err != nil {
		t.Errorf("%s: %v", fault, err)
	}
	undone, other := dir+"-undo", dir+"-other"
	must(t, copyAll(dir, undone))
	must(t, copyAll(dir, other))
	m.try(t, fault, "undo", m.undo(undone, state))
	m.try(t, fault, "other leader", m.resume(t, other, m.leaders[1], state))
	m.try(t, fault, "resume", m.resume(t, dir, m.leaders[0], state))
}

// resume goes on with another run, to the end.
func (m *crashMatrix) resume(t *testing.T, dir string, leader *rewindtest.Node, state left) error {
	t.Helper()
	p, err := crashRun{dir: dir, conninfo: leader.Conninfo(), salvage: !m.dropIn}.do()
	if err != nil {
		return err
	}
	if want := state == halfDone; p.Resumed != want {
		return fmt.Errorf("the plan says resumed: %t, want %t", p.Resumed, want)
	}
	if err := ownFiles(dir); err != nil {
		return err
	}
	if err := m.checkSalvage(dir); err != nil {
		return err
	}
	return m.prove(t, dir, leader)
}

// undo takes back what was done, or is told that there is nothing to take back;
// then the directory is what it was, or whole.
func (m *crashMatrix) undo(dir string, state left) error {
	was := tree{}
	if state != halfDone {
		var err error
		if was, err = treeOf(dir); err != nil {
			return err
		}
	}
	_, err := (&rewind.Engine{PGData: dir}).Undo(context.Background())
	now, readErr := treeOf(dir)
	switch {
	case readErr != nil:
		return readErr
	case errors.Is(err, rewind.ErrNoUndo) && state != halfDone:
		return now.diff(was)
	case err != nil:
		return err
	}
	return now.diff(m.crashScene.before)
}

// checkLeft looks at what a fault has left: the directory is as it was, or cannot
// start, or is finished; and ReadInterrupted says which.
func (m *crashMatrix) checkLeft(t *testing.T, dir, fault string, state left) error {
	t.Helper()
	_, err := os.Stat(filepath.Join(dir, "global/pg_control"))
	startable := err == nil
	control, half, err := rewind.ReadInterrupted(dir)
	if err != nil {
		return fmt.Errorf("ReadInterrupted: %w", err)
	}
	if half == startable || (control != nil) != half {
		return fmt.Errorf("ReadInterrupted says %t, pg_control is there: %t", half, startable)
	}
	if want := state != halfDone; startable != want {
		return fmt.Errorf("pg_control is there: %t, want %t", startable, want)
	}
	switch state {
	case halfDone:
		return rewindtest.RefusesToStart(m.install, dir)
	case finished:
		if fault != "kill" || m.dropIn {
			return nil
		}
		copied := dir + "-start"
		if err := rewindtest.CopyDir(dir, copied); err != nil {
			return err
		}
		return m.prove(t, copied, m.leaders[0]) // with what is left of the journal
	}
	now, err := treeOf(dir)
	if err != nil {
		return err
	}
	if fault == "kill" {
		now = now.without(rewind.JournalDir, "pg_wal/failback_hook")
	}
	return now.diff(m.crashScene.before)
}
