package rewind_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

// Flags of make test-powercut.
var (
	everyCut = flag.Int("powercut", 0, "cut the power at each n-th moment, not at a few only")
	cutOn    = flag.String("powercut-fs", string(powercut.Ext4), "the file systems of the disk whose power is cut, separated by commas")
)

// state is how far the work came on the mounted disk.
func (p *powered) state(t *testing.T) left {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.node.Dir, "global/pg_control"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return halfDone
	case err != nil:
		t.Fatal(err)
	case bytes.Equal(b, p.control):
		return untouched
	}
	return finished
}

// swap puts the other disk in.
func (p *powered) swap(t *testing.T, i powercut.Image) {
	t.Helper()
	m := p.m.For(t)
	m.Unmount()
	m.Mount(i)
}

// stages tells which states a moment of a rewind may leave.
func (p *powered) stages(f *film) func(t *testing.T, at int) {
	latching, latched := f.span("rename global/pg_control")
	unlatching, unlatched := f.span("publish global/pg_control")
	return func(t *testing.T, at int) {
		t.Helper()
		var want []left
		if at < latched {
			want = append(want, untouched)
		}
		if at > latching && at < unlatched {
			want = append(want, halfDone)
		}
		if at > unlatching {
			want = append(want, finished)
		}
		got := p.state(t)
		if !slices.Contains(want, got) {
			t.Errorf("the directory is %s, want %v", got, want)
		}
		_, half, err := rewind.ReadInterrupted(p.node.Dir)
		if err != nil || half != (got == halfDone) {
			t.Errorf("the directory is %s, ReadInterrupted says half done: %t, %v", got, half, err)
		}
		switch got {
		case untouched:
			sameSnapshot(t, "not as it was before", notOwn(imprintOf(t, p.node.Dir)), p.was)
		case finished:
			p.complete(t)
		}
	}
}

// finishes continues what a power cut ended.
func (p *powered) finishes(t *testing.T, thorough bool) {
	t.Helper()
	half := p.state(t) == halfDone
	if half && thorough {
		if err := p.node.Start(); err == nil {
			t.Fatal("the server starts on a half rewound directory")
		}
	}
	plan := run(t, p.engine(t))
	if plan.Resumed != half {
		t.Errorf("plan says resumed: %t, want %t", plan.Resumed, half)
	}
	noOwnFiles(t, p.node.Dir)
	p.sameAsWhole(t, p.node.Dir)
	sameSnapshot(t, "salvaged", p.salvaged(t), p.branch)
	if thorough && !t.Failed() {
		prove(t, p.node, p.leader)
	}
}

// goesBack takes back what a power cut ended; gone tells that it may be too late.
func (p *powered) goesBack(t *testing.T, thorough, gone bool) {
	t.Helper()
	before := p.state(t)
	tree := notOwn(imprintOf(t, p.node.Dir))
	_, err := p.engine(t).Undo(context.Background())
	switch {
	case errors.Is(err, rewind.ErrNoUndo) && (before == untouched || before == finished && gone):
		sameSnapshot(t, "undo refuses, and changes something", notOwn(imprintOf(t, p.node.Dir)), tree)
	case err != nil:
		t.Fatalf("%s, undo: %v", before, err)
	default:
		sameSnapshot(t, "undone, the directory is not what it was", imprintOf(t, p.node.Dir), p.was)
	}
	if thorough && !t.Failed() {
		p.node.Must(t).Start()
	}
}

// rewound films a rewind on a disk, and the tidying up behind it, which begins at
// the moment that is returned.
func (p *powered) rewound(t *testing.T, on powercut.Image, u urge) (f *film, tidying int) {
	t.Helper()
	f = p.film(t, on, u, func(e *rewind.Engine) {
		e.Options.KeepUndo, e.Options.Workers, e.Options.SyncMethod = true, u.workers(), u.method()
		run(t, e)
		tidying = p.m.Now()
		_, err := e.Discard(context.Background())
		must(t, err)
		p.branch = p.salvaged(t)
	})
	if len(p.branch) == 0 {
		t.Fatal("nothing was salvaged")
	}
	return f, tidying
}

// cutRewind cuts the power during a rewind, and during the tidying up behind it:
// the same command finishes it, and undo takes it back.
func (p *powered) cutRewind(t *testing.T, on powercut.Image, u urge, some int) *film {
	t.Helper()
	f, tidying := p.rewound(t, on, u)
	stages := p.stages(f)
	at := 0
	expect := func(t *testing.T, now int) { at = now; stages(t, now) }
	p.eachCut(t, f, some, expect, func(t *testing.T, n int, again powercut.Image) {
		p.finishes(t, n%10 == 3)
		must(t, p.node.Stop(rewindtest.Immediate))
		p.swap(t, again)
		p.goesBack(t, n%10 == 6, at > tidying)
	})
	return f
}

// TestPowerCut cuts the power during a rewind: the directory is as it was, or cannot start,
// or is finished, and the latter two when the engine has said so. Then it does the
// same to the rewind that continues one of these.
func TestPowerCut(t *testing.T) {
	onEachDisk(t, func(t *testing.T, p *powered) {
		var half powercut.Image
		for _, u := range urges() {
			t.Run(string(u), func(t *testing.T) {
				q := p.in(t)
				half = q.halfDone(q.cutRewind(t, p.base, u, 2))
			})
		}
		if t.Failed() || t.Skipped() {
			return
		}
		t.Run("continued", func(t *testing.T) {
			p.in(t).cutRewind(t, half, whim, 1)
		})
	})
}

// halfDone is the disk as it was in the middle of the work.
func (p *powered) halfDone(f *film) powercut.Image {
	_, latched := f.span("rename global/pg_control")
	unlatching, _ := f.span("publish global/pg_control")
	return p.m.Cut(powercut.Moment{At: latched + (unlatching-latched)*2/3})
}

// TestPowerCutUndo cuts the power while a rewind is taken back, one that a power
// cut had ended and one that was finished: undo, called again, ends it.
func TestPowerCutUndo(t *testing.T) {
	onEachDisk(t, func(t *testing.T, p *powered) {
		f, tidying := p.rewound(t, p.base, whim)
		for name, at := range map[string]powercut.Image{
			"half done": p.halfDone(f), "finished": p.m.Cut(powercut.Moment{At: tidying}),
		} {
			for _, u := range undoUrges() {
				t.Run(name+" "+string(u), func(t *testing.T) { p.in(t).cutUndo(t, at, u) })
			}
		}
	})
}

// TestPowerCutNoUndo is TestPowerCut for a run that saves nothing of what it
// overwrites, from the beginning and behind one that did: it can only be finished.
func TestPowerCutNoUndo(t *testing.T) {
	if *everyCut == 0 {
		t.Skip("takes too long for make test: make test-powercut")
	}
	onEachDisk(t, func(t *testing.T, p *powered) {
		f, _ := p.rewound(t, p.base, lazy)
		for name, on := range map[string]powercut.Image{"from the beginning": p.base, "behind another": p.halfDone(f)} {
			t.Run(name, func(t *testing.T) {
				p := p.in(t)
				f := p.film(t, on, whim, func(e *rewind.Engine) {
					e.Options.NoUndo, e.Options.Workers = true, whim.workers()
					run(t, e)
				})
				p.eachCut(t, f, 2, p.stages(f), func(t *testing.T, n int, _ powercut.Image) { p.finishes(t, n%10 == 3) })
			})
		}
	})
}

func (p *powered) cutUndo(t *testing.T, on powercut.Image, u urge) {
	t.Helper()
	f := p.film(t, on, u, func(e *rewind.Engine) { undo(t, e) })
	expect := func(t *testing.T, at int) {
		t.Helper()
		switch state := p.state(t); {
		case state == untouched:
			sameSnapshot(t, "not as it was before", notOwn(imprintOf(t, p.node.Dir)), p.was)
		case at == f.end:
			t.Errorf("undo has ended, the directory is %s", state)
		case state == finished:
			p.complete(t)
		}
	}
	p.eachCut(t, f, 2, expect, func(t *testing.T, n int, again powercut.Image) {
		p.goesBack(t, n%10 == 3, false)
		must(t, p.node.Stop(rewindtest.Immediate))
		p.swap(t, again)
		if _, err := p.engine(t).Plan(context.Background()); !errors.Is(err, rewind.ErrUndoBegun) {
			must(t, err) // what undo had noted was lost, or it has ended
			run(t, p.engine(t))
			p.sameAsWhole(t, p.node.Dir)
			noOwnFiles(t, p.node.Dir)
		}
	})
}
