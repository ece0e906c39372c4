package rewind_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

// step is a change that the engine was about to make.
type step struct {
	at   int // of the recording
	what string
}

// film is what one piece of work wrote to the disk.
type film struct {
	mu      sync.Mutex // while several workers fetch
	steps   []step
	end     int
	flushes []int
}

func (f *film) note(s step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, s)
}

// film records work on a disk.
func (p *powered) film(t *testing.T, on powercut.Image, u urge, work func(e *rewind.Engine)) *film {
	t.Helper()
	p.m.Record(on)
	f := &film{}
	func() {
		defer p.m.Unmount()
		pr := u.presser(t, p)
		defer pr.stop()
		e := p.durable(t)
		e.BeforeWrite(func(op, path string) error {
			f.note(step{p.m.Now(), op + " " + path})
			pr.press(path)
			return nil
		})
		work(e)
		f.end = p.m.Now()
	}()
	f.flushes = slices.DeleteFunc(p.m.Flushes(), func(at int) bool { return at > f.end })
	return f
}

// span gives the moments between which a step was made: it had not begun at the
// first, and was over at the second. -1 where there was none.
func (f *film) span(what string) (before, after int) {
	i := slices.IndexFunc(f.steps, func(s step) bool { return s.what == what })
	switch {
	case i < 0:
		return -1, -1
	case i == len(f.steps)-1:
		return f.steps[i].at, f.end
	}
	return f.steps[i].at, f.steps[i+1].at
}

// made is the step that was last begun at a moment.
func (f *film) made(at int) string {
	what := "nothing"
	for _, s := range f.steps {
		if s.at <= at {
			what = s.what
		}
	}
	return what
}

// moments is when to cut the power: behind every flush and before every step,
// and between flushes with a part of what the disk had not flushed lost; or at some of
// these, and always around the moments at which pg_control goes and comes.
func (f *film) moments(some int) []powercut.Moment {
	var out []powercut.Moment
	ats := slices.Clone(f.flushes)
	for _, s := range f.steps {
		ats = append(ats, s.at)
	}
	ats = append(ats, f.end)
	slices.Sort(ats)
	ats = slices.Compact(ats)
	for i, at := range ats {
		out = append(out, powercut.Moment{At: at})
		if i > 0 && at > ats[i-1]+1 {
			out = append(out, powercut.Moment{At: at - 1, Seed: uint64(at)}, powercut.Moment{At: (at + ats[i-1] + 1) / 2})
		}
	}
	slices.SortFunc(out, func(a, b powercut.Moment) int { return cmp.Compare(a.At, b.At) })
	every := max(1, len(out)/some)
	if *everyCut > 0 {
		every = *everyCut
	}
	latching, latched := f.span("rename global/pg_control")
	unlatching, unlatched := f.span("publish global/pg_control")
	always := []int{latching, latched, unlatching, unlatched}
	thin := out[:0]
	for i, m := range out {
		if i%every == every/2 || m.Seed == 0 && slices.Contains(always, m.At) {
			thin = append(thin, m)
		}
	}
	return thin
}

// tally counts what was met.
type tally struct {
	moments, trees int
	seen           map[[sha256.Size]byte]bool
	states         map[left]int
}

func newTally() *tally {
	return &tally{seen: map[[sha256.Size]byte]bool{}, states: map[left]int{}}
}

func (l left) String() string { return [...]string{"untouched", "half done", "finished"}[l] }

// eachCut mounts the disk as each moment leaves it, and calls check for every tree
// that was not there before, with the disk once more as it was found.
func (p *powered) eachCut(t *testing.T, f *film, some int, expect func(t *testing.T, at int), check func(t *testing.T, n int, again powercut.Image)) *tally {
	t.Helper()
	c := newTally()
	for _, m := range f.moments(some) {
		t.Run(fmt.Sprintf("%d-%d %s", m.At, m.Seed, f.made(m.At)), func(t *testing.T) {
			machine := p.m.For(t)
			found := machine.Cut(m)
			again := machine.Copy(found)
			machine.Mount(found)
			defer func() {
				must(t, p.node.Stop(rewindtest.Immediate))
				machine.Unmount()
				machine.Drop(found)
				machine.Drop(again)
			}()
			tree := imprintOf(t, p.node.Dir)
			c.moments++
			expect(t, m.At)
			if key := digest(tree); !c.seen[key] {
				c.seen[key] = true
				c.states[p.state(t)]++
				c.trees++
				check(t, c.trees, again)
			}
		})
	}
	t.Logf("%d steps, %d writes, %d flushes: the power was cut at %d moments, which left %d different disks: %v",
		len(f.steps), f.end, len(f.flushes), c.moments, c.trees, c.states)
	return c
}
