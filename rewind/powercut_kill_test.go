package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

// killedAt rewinds and ends before the n-th change.
func (p *powered) killedAt(t *testing.T, n int) {
	t.Helper()
	e := p.durable(t)
	e.Options.KeepUndo = true
	killing(e, n)
	plan, err := e.Plan(context.Background())
	must(t, err)
	if _, err := e.Apply(context.Background(), plan); !errors.Is(err, errKilled) {
		t.Fatalf("apply: %v, want it to be ended", err)
	}
}

// some are points of a work of n changes.
func some(n, few int) []int {
	every := max(1, n/few)
	if *everyCut > 0 {
		every = *everyCut
	}
	var out []int
	for i := every / 2; i < n; i += every {
		out = append(out, i)
	}
	return out
}

// looks mounts the disk as the power cut at the end of the last recording leaves it.
func (p *powered) looks(t *testing.T, at int, check func()) {
	t.Helper()
	i := p.m.Cut(powercut.Moment{At: at})
	p.m.Mount(i)
	check()
	p.m.Unmount()
	p.m.Drop(i)
}

// TestPowerCutAfterKill kills a rewind, lets the next one finish the work, and
// cuts the power when that has ended: also what the first one had done, and the
// second had found done, is on the disk. The same for undoing.
func TestPowerCutAfterKill(t *testing.T) {
	onEachDisk(t, func(t *testing.T, p *powered) {
		var back int
		f := p.film(t, p.base, lazy, func(e *rewind.Engine) {
			e.Options.KeepUndo = true
			run(t, e)
			back = p.m.Now()
		})
		p.looks(t, back, func() { p.complete(t) })
		latched, finished := 0, len(f.steps)
		for i, s := range f.steps {
			switch s.what {
			case "rename global/pg_control":
				latched = i + 1
			case "publish global/pg_control":
				finished = i
			}
		}
		for _, n := range some(finished-latched, 2) {
			t.Run(fmt.Sprintf("%d %s", latched+n, f.steps[latched+n].what), func(t *testing.T) {
				q := p.in(t)
				f := q.film(t, p.base, lazy, func(e *rewind.Engine) {
					q.killedAt(t, latched+n)
					e.Options.KeepUndo = true
					run(t, e)
				})
				q.looks(t, f.end, func() { q.complete(t) })

				f = q.film(t, p.base, lazy, func(e *rewind.Engine) {
					q.killedAt(t, latched+n)
					undo(t, e)
				})
				half := len(f.steps)
				q.looks(t, f.end, func() { sameSnapshot(t, "undone once", imprintOf(t, q.node.Dir), p.was) })

				f = q.film(t, p.base, lazy, func(e *rewind.Engine) {
					q.killedAt(t, latched+n)
					first := q.durable(t)
					killing(first, half*2/3)
					switch _, err := first.Undo(context.Background()); {
					case err == nil: // several workers had come less far
					case !errors.Is(err, errKilled):
						t.Fatalf("undo: %v, want it to be ended", err)
					default:
						undo(t, e)
					}
				})
				q.looks(t, f.end, func() { sameSnapshot(t, "undone twice", imprintOf(t, q.node.Dir), p.was) })
			})
		}
	})
}
