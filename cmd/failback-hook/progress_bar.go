package main

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/rewind"
)

// console is stderr when it is a terminal: log lines and the bar take turns on
// it, so that a line never begins behind a half-drawn bar.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	drawn bool
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
		io.WriteString(c.w, eraseLine)
		c.drawn = false
	}
}

// barProgress draws one bar per phase and leaves nothing behind: what is worth
// keeping is in the report.
type barProgress struct {
	console *console
	log     *zap.Logger
	bar     *progressbar.ProgressBar
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
		b.console.erase()
		b.bar = newBar(b.console.w, e.Phase, e.Total)
		b.draw(0)
	case rewind.Progress:
		if b.bar == nil {
			return
		}
		if e.Total > 0 && e.Total != b.bar.GetMax64() {
			b.bar.ChangeMax64(e.Total)
		}
		b.draw(e.Done)
	}
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
func newBar(w io.Writer, phase rewind.Phase, total int64) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(string(phase)),
		progressbar.OptionSetWidth(30),
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
