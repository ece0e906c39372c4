package main

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// console is stderr when it is a terminal: log lines and the bar take turns on
// it, so that a line never begins behind a half-drawn bar.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	drawn bool
	// columns says how wide the terminal is; nil for the usual 80.
	columns func() int
}

// barWidth leaves room for the phase before the bar and the numbers behind it:
// a line that wraps cannot be erased.
func (c *console) barWidth() int { return min(max(c.width()-68, 6), 30) }

// width is that of the terminal.
func (c *console) width() int {
	if c.columns == nil {
		return 80
	}
	return c.columns()
}

// eraseLine goes to the line's beginning and blanks it.
const eraseLine = "\r\x1b[2K"

// Write takes the bar off the line first; the next event draws it again.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	return c.w.Write(b)
}

func (c *console) erase() {
	if c.drawn {
		_, _ = io.WriteString(c.w, eraseLine) // a terminal that is gone takes the bar with it
		c.drawn = false
	}
}

// barProgress draws one bar per phase, a word for a step without phases, and leaves nothing behind: what is worth
// keeping is in the report.
type barProgress struct {
	console *console
	log     *zap.Logger
	bar     *progressbar.ProgressBar
	// begun: the phase has got so far that the bar says more than its name.
	begun bool
}

func (b *barProgress) event(e rewind.Event) {
	if w, ok := e.(rewind.Warning); ok {
		logWarning(b.log, w) // takes the console itself
		return
	}
	b.console.mu.Lock()
	defer b.console.mu.Unlock()
	switch e := e.(type) {
	case rewind.PhaseStarted:
		b.say(doing(string(e.Phase)))
		b.bar, b.begun = newBar(b.console, e.Phase, e.Total), false
	case rewind.Progress:
		if b.bar == nil || e.Done <= 0 {
			return
		}
		if !b.begun {
			b.begun = true
			b.console.erase()
		}
		if e.Total > 0 && e.Total != b.bar.GetMax64() {
			b.bar.ChangeMax64(e.Total)
		}
		b.draw(e.Done)
	}
}

// step names what is waited for: the server, the leader, etcd.
func (b *barProgress) step(name string) {
	b.console.mu.Lock()
	defer b.console.mu.Unlock()
	b.bar = nil
	b.say(doing(name))
}

// wait shows in the place of the bar what is waited for; the bar comes back
// with the next byte.
func (b *barProgress) wait(w hook.Waiting) {
	b.console.mu.Lock()
	defer b.console.mu.Unlock()
	b.begun = false
	b.say(w.String())
}

// say puts words in the place of the bar, as many as there is room for.
func (b *barProgress) say(what string) {
	line := []rune(what + " …")
	if most := b.console.width() - 1; len(line) > most {
		line = append(line[:max(most-1, 0)], '…')
	}
	b.console.erase()
	_, _ = io.WriteString(b.console.w, string(line))
	b.console.drawn = true
}

// doing says what a step of package hook, or a phase of the engine, does.
func doing(step string) string {
	switch step {
	case string(rewind.PhaseInspect):
		return "reading control files and histories"
	case string(rewind.PhaseScanWAL):
		return "reading this node's WAL"
	case string(rewind.PhaseList):
		return "listing files on both nodes"
	case string(rewind.PhaseCompare):
		return "comparing files"
	case string(rewind.PhaseTidy):
		return "cutting and removing files"
	case string(rewind.PhaseSync):
		return "syncing to disk"
	case string(rewind.PhaseFinish):
		return "writing the label, the settings and pg_control"
	case "look", "look again":
		return "looking at etcd, the leader and this node"
	case "settle":
		return "giving the standby a moment to stream by itself"
	case "lock":
		return "taking the lock"
	case "stop":
		return "stopping the server"
	case "slot":
		return "making the replication slot"
	case "start", "start again":
		return "starting the server"
	case "stream":
		return "waiting until the leader sees this node stream"
	}
	return step
}

func (b *barProgress) draw(done int64) {
	b.console.drawn = true
	_ = b.bar.Set64(done) // an error of the terminal has no remedy
}

func (b *barProgress) close() {
	b.console.mu.Lock()
	defer b.console.mu.Unlock()
	b.console.erase()
	b.bar = nil
}

// newBar shows phase, bytes, rate and time left; a spinner when the total is
// not known.
func newBar(c *console, phase rewind.Phase, total int64) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(c.w),
		progressbar.OptionSetDescription(string(phase)),
		progressbar.OptionSetWidth(c.barWidth()),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		// The spinner must not turn by a goroutine of its own: it would write
		// without taking turns.
		progressbar.OptionSetSpinnerChangeInterval(0),
	)
}
