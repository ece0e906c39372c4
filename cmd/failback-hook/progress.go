package main

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// progress shows the engine's events on stderr: as a bar on a terminal, as a
// line now and then elsewhere.
type progress struct {
	event func(rewind.Event)
	// step is told when a step of the run begins; the engine's phases lie
	// within two of them.
	step func(name string)
	// wait is told again and again what is waited for.
	wait  func(hook.Waiting)
	close func()
}

// lineEvery is the distance of two lines of progress in a log.
const lineEvery = 5 * time.Second

// waitLineEvery is the distance of two lines about the same wait: while nothing
// happens there is little to say.
const waitLineEvery = 30 * time.Second

// newProgress chooses by what stderr is. Warnings are always shown.
func (p *program) newProgress(quiet bool, log *zap.Logger) progress {
	if quiet {
		return progress{event: func(e rewind.Event) { logWarning(log, e) }, step: func(string) {}, wait: func(hook.Waiting) {}, close: func() {}}
	}
	if c, ok := p.stderr.(*console); ok {
		b := &barProgress{console: c, log: log}
		return progress{event: b.event, step: b.step, wait: b.wait, close: b.close}
	}
	ticker := time.NewTicker(lineEvery)
	l := newLineProgress(log, time.Now, ticker.C)
	return progress{event: l.event, step: l.step, wait: l.wait, close: func() { ticker.Stop(); l.close() }}
}

func logWarning(log *zap.Logger, e rewind.Event) {
	if w, ok := e.(rewind.Warning); ok {
		log.Warn(w.Text)
	}
}

// lineProgress logs one line per tick with what is being done, and at debug
// level one at the beginning of each phase. The ticks come from outside and also when no event does: a
// line that says that nothing moves is worth as much as one that says how fast.
type lineProgress struct {
	log  *zap.Logger
	now  func() time.Time
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	mu    sync.Mutex
	phase rewind.Phase
	began time.Time
	moved time.Time
	done  int64
	total int64
	// waiting is what is waited for; nil when nothing is. waitSaid is when a
	// line told of it last.
	waiting  *hook.Waiting
	waitSaid time.Time
}

func newLineProgress(log *zap.Logger, now func() time.Time, ticks <-chan time.Time) *lineProgress {
	l := &lineProgress{log: log, now: now, stop: make(chan struct{})}
	l.wg.Go(func() {
		for {
			select {
			case <-ticks:
				l.tick()
			case <-l.stop:
				return
			}
		}
	})
	return l
}

// close ends the lines; it may be called again.
func (l *lineProgress) close() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

func (l *lineProgress) event(e rewind.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e := e.(type) {
	case rewind.PhaseStarted:
		l.waiting = nil
		l.phase, l.done, l.total = e.Phase, 0, e.Total
		l.began, l.moved = l.now(), l.now()
		fields := []zap.Field{zap.String("phase", string(e.Phase))}
		if e.Total > 0 {
			fields = append(fields, zap.String("total", size(e.Total)))
		}
		l.log.Debug("phase begins", fields...)
	case rewind.Progress:
		if e.Done != l.done {
			l.moved, l.waiting = l.now(), nil
		}
		l.done, l.total = e.Done, max(l.total, e.Total)
	case rewind.Warning:
		logWarning(l.log, e)
	}
}

// step shows a step as a phase without bytes, until the engine says more.
func (l *lineProgress) step(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase, l.done, l.total = rewind.Phase(name), 0, 0
	l.began, l.moved, l.waiting = l.now(), l.now(), nil
	l.log.Debug("step begins", zap.String("step", name))
}

// wait notes what is waited for. That it began is in the log already.
func (l *lineProgress) wait(w hook.Waiting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waitSaid = l.now()
	}
	l.waiting = &w
}

// tick logs where the phase is, or what is waited for.
func (l *lineProgress) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting != nil {
		if l.now().Sub(l.waitSaid) >= waitLineEvery {
			l.waitSaid = l.now()
			l.log.Info(l.waiting.String())
		}
		return
	}
	if l.phase == "" {
		return
	}
	now := l.now()
	fields := []zap.Field{zap.String("phase", string(l.phase)), zap.String("for", rounded(now.Sub(l.began)))}
	if l.done > 0 {
		fields = append(fields, zap.String("done", doneOf(l.done, l.total)))
		fields = append(fields, pace(l.done, l.total, now.Sub(l.began))...)
	}
	if still := now.Sub(l.moved); still >= lineEvery && l.total > 0 && l.done < l.total {
		fields = append(fields, zap.String("no_progress_for", rounded(still)))
	}
	l.log.Info("progress", fields...)
}

// doneOf prints bytes done, of how many, and the percentage.
func doneOf(done, total int64) string {
	if total <= 0 {
		return size(done)
	}
	return fmt.Sprintf("%s of %s (%d %%)", size(done), size(total), min(done, total)*100/total)
}

// pace is the mean rate of the phase so far and the time left at that rate.
func pace(done, total int64, elapsed time.Duration) []zap.Field {
	if elapsed <= 0 || done <= 0 {
		return nil
	}
	rate := float64(done) / elapsed.Seconds()
	fields := []zap.Field{zap.String("rate", size(int64(rate))+"/s")}
	if total > done {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		fields = append(fields, zap.String("left", rounded(left)))
	}
	return fields
}
