package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// apart is how many points lie between those at which journeys begin that meet
// more than one interruption: all of them would be the square of the others.
const apart = 6

// twice goes on after a kill and is killed again, by itself and from leader to leader.
func (m *crashMatrix) twice(t *testing.T) {
	for i, at := range m.points() {
		if m.left(at) != halfDone {
			continue
		}
		switch i % apart {
		case 0:
			t.Run("again "+m.name(at), func(t *testing.T) {
				t.Parallel()
				m.killedAgain(t, at, "killed again", m.leaders[0], m.leaders[0])
			})
		case apart / 2:
			t.Run("two leaders "+m.name(at), func(t *testing.T) {
				t.Parallel()
				m.killedAgain(t, at, "leader changed twice", m.leaders[1], m.leaders[2])
			})
		}
	}
}

// killedAgain is killed before a step, and the run as well that goes on from the
// second leader; then the third finishes it, or it is taken back.
func (m *crashMatrix) killedAgain(t *testing.T, at int, fault string, second, third *rewindtest.Node) {
	dir := filepath.Join(m.place(t), "again")
	must(t, rewindtest.CopyDir(m.origin, dir))
	crashAt(t, dir, m.leaders[0], at)
	whole := dir + "-whole"
	must(t, copyAll(dir, whole))
	steps := m.crashSteps(t, whole, second, false)
	crashAt(t, dir, second, at*37%slices.Index(steps, "publish global/pg_control"))
	must(t, rewindtest.RefusesToStart(m.install, dir))
	undone := dir + "-undo"
	must(t, copyAll(dir, undone))
	m.try(t, fault, "undo", m.undo(undone, halfDone))
	m.try(t, fault, "resume", m.resume(t, dir, third, halfDone))
}

// crashAt begins a rewind, or goes on with one, and ends before the change of that
// number.
func crashAt(t *testing.T, dir string, leader *rewindtest.Node, at int) {
	t.Helper()
	made := 0
	_, err := crashRun{dir: dir, conninfo: leader.Conninfo(), salvage: true, before: func(string, string) error {
		if made++; made > at {
			return errFault
		}
		return nil
	}}.do()
	if !errors.Is(err, errFault) {
		t.Fatalf("ended with %v, want the error of the test", err)
	}
}

// dropInFirst is killed in a run of the program that is called pg_rewind, and goes
// on as failback-hook.
func (m *crashMatrix) dropInFirst(t *testing.T) {
	d := *m
	d.dropIn = true
	d.learn(t)
	for i, at := range d.points() {
		if d.left(at) != halfDone || i%apart != 1 {
			continue
		}
		t.Run("drop-in "+d.name(at), func(t *testing.T) {
			t.Parallel()
			killed, _, err := d.interrupt(t, at)
			must(t, err)
			d.journeys(t, halfDone, "drop-in first", killed)
		})
	}
}

// backTwice takes a finished rewind back, is killed or meets an error before each
// of the changes that this makes, and takes it back again.
func (m *crashMatrix) backTwice(t *testing.T) {
	done := filepath.Join(m.dir, "done")
	must(t, rewindtest.CopyDir(m.origin, done))
	_, err := crashRun{dir: done, conninfo: m.leaders[0].Conninfo(), keepUndo: true}.do()
	must(t, err)
	var steps []string
	whole := filepath.Join(m.dir, "undone")
	must(t, rewindtest.CopyDir(done, whole))
	must(t, undoWith(whole, func(op, path string) error {
		steps = append(steps, op+" "+path)
		return nil
	}))
	must(t, readTree(t, whole).diff(m.crashScene.before))
	latch, unlatch := slices.Index(steps, "rename global/pg_control"), slices.Index(steps, "rename "+rewind.JournalDir+"/pg_control")
	t.Logf("%d steps of undoing, pg_control leaves at %d, comes back at %d", len(steps), latch, unlatch)
	for _, at := range crashPoints(steps, latch, unlatch) {
		t.Run(fmt.Sprintf("undo %03d %s", at, steps[at]), func(t *testing.T) {
			t.Parallel()
			place := m.place(t)
			killed, failed := filepath.Join(place, "killed"), filepath.Join(place, "failed")
			must(t, rewindtest.CopyDir(done, failed))
			made := 0
			err := undoWith(failed, func(string, string) error {
				if made++; made != at+1 {
					return nil
				}
				return errors.Join(errFault, rewindtest.CopyDir(failed, killed))
			})
			if !errors.Is(err, errFault) {
				t.Fatalf("undo ended with %v, want the error of the test", err)
			}
			m.try(t, "undo killed", "undo", m.backAgain(killed, at > latch && at <= unlatch))
			m.try(t, "undo failed", "undo", m.backAgain(failed, at > latch && at <= unlatch))
		})
	}
}

// backAgain finishes an undo. Until that is done no server can start, and nothing
// else can be begun.
func (m *crashMatrix) backAgain(dir string, latched bool) error {
	_, err := os.Stat(filepath.Join(dir, "global/pg_control"))
	if startable := err == nil; startable == latched {
		return fmt.Errorf("pg_control is there: %t", startable)
	}
	if latched {
		if err := rewindtest.RefusesToStart(m.install, dir); err != nil {
			return err
		}
		if _, err := (crashRun{dir: dir, conninfo: m.leaders[0].Conninfo()}).do(); !errors.Is(err, rewind.ErrUndoBegun) {
			return fmt.Errorf("a run goes on: %w, want ErrUndoBegun", err)
		}
	}
	if err := undoWith(dir, nil); err != nil {
		return err
	}
	now, err := treeOf(dir)
	if err != nil {
		return err
	}
	return now.diff(m.crashScene.before)
}

func undoWith(dir string, before func(op, path string) error) error {
	e := &rewind.Engine{PGData: dir}
	e.Options.NoSync = true
	e.BeforeWrite(before)
	_, err := e.Undo(context.Background())
	return err
}
