package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/failback-hook/failback-hook/hook"
	"github.com/failback-hook/failback-hook/rewind"
)

// lines renders log entries without their times.
func lines(t *testing.T, logs *observer.ObservedLogs) string {
	t.Helper()
	var b strings.Builder
	enc := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "msg", LevelKey: "level", EncodeLevel: zapcore.CapitalLevelEncoder, ConsoleSeparator: " "})
	for _, e := range logs.TakeAll() {
		buf, err := enc.EncodeEntry(e.Entry, e.Context)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(buf.Bytes())
	}
	return b.String()
}

func TestLineProgress(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ticks := make(chan time.Time)
	l := newLineProgress(zap.New(core), func() time.Time { return clock }, ticks)
	l.tick() // before any phase: nothing to say
	l.event(rewind.PhaseStarted{Phase: rewind.PhaseInspect})
	clock = clock.Add(2 * time.Second)
	l.event(rewind.PhaseStarted{Phase: rewind.PhaseCopy, Total: 100 << 20})
	clock = clock.Add(5 * time.Second)
	l.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 25 << 20, Total: 100 << 20})
	l.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 25 << 20, Total: 100 << 20})
	l.tick()
	l.event(rewind.Warning{Text: "careful"})
	clock = clock.Add(7 * time.Second)
	l.tick() // nothing has moved
	clock = clock.Add(3 * time.Second)
	l.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 100 << 20, Total: 100 << 20})
	l.tick()
	clock = clock.Add(time.Second)
	l.step("stream")
	clock = clock.Add(5 * time.Second)
	l.tick()
	l.close()
	l.close() // may be called again
	golden(t, "progress.txt", lines(t, logs))
}

// TestLineProgressTicks checks that a tick from outside becomes a line
// although no event comes.
func TestLineProgressTicks(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	ticks := make(chan time.Time)
	l := newLineProgress(zap.New(core), time.Now, ticks)
	l.event(rewind.PhaseStarted{Phase: rewind.PhaseSync})
	ticks <- time.Time{}
	ticks <- time.Time{} // taken only after the first was dealt with
	l.close()
	if n := logs.FilterMessage("progress").Len(); n != 2 {
		t.Errorf("%d lines of progress, want 2", n)
	}
}

// TestLineProgressWaits: a wait has a line now and then, and no line of progress
// beside it, until something moves again.
func TestLineProgressWaits(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := newLineProgress(zap.New(core), func() time.Time { return clock }, make(chan time.Time))
	defer l.close()
	l.event(rewind.PhaseStarted{Phase: rewind.PhaseCopy, Total: 100})
	for second := range 70 {
		l.wait(hook.Waiting{For: "the leader n2", Why: "connection refused", Elapsed: time.Duration(second) * time.Second, Limit: 5 * time.Minute})
		if second%5 == 0 {
			l.tick()
		}
		clock = clock.Add(time.Second)
	}
	want := "INFO waiting for the leader n2 (connection refused), 30 s of 5 min\n" +
		"INFO waiting for the leader n2 (connection refused), 1 min of 5 min\n"
	if got := lines(t, logs); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	l.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 50, Total: 100})
	l.tick()
	if got := lines(t, logs); !strings.HasPrefix(got, "INFO progress") {
		t.Errorf("got %q after the wait, want progress", got)
	}
}

// TestBarWaits: on a terminal the wait takes the place of the bar, cut to the
// width of the line, and goes when there is something to show again.
func TestBarWaits(t *testing.T) {
	var out bytes.Buffer
	c := &console{w: &out, columns: func() int { return 40 }}
	b := &barProgress{console: c, log: zap.NewNop()}
	b.event(rewind.PhaseStarted{Phase: rewind.PhaseCopy, Total: 100})
	out.Reset()
	b.wait(hook.Waiting{For: "the leader n2", Why: "connection refused", Limit: 5 * time.Minute})
	if got, want := out.String(), eraseLine+"waiting for the leader n2 (connection …"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	out.Reset()
	b.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 50, Total: 100})
	if !strings.HasPrefix(out.String(), eraseLine) {
		t.Errorf("got %q, want the wait erased first", out.String())
	}
}

func TestQuiet(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	p := (&program{stderr: new(bytes.Buffer)}).newProgress(true, zap.New(core))
	p.step("look")
	p.event(rewind.PhaseStarted{Phase: rewind.PhaseCopy, Total: 1})
	p.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 1, Total: 1})
	p.event(rewind.Warning{Text: "careful"})
	p.close()
	if got, want := lines(t, logs), "WARN careful\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestBarProgress draws on a terminal that is a buffer: phase and bytes show,
// a log line never lands behind a bar, and nothing is left at the end.
func TestBarProgress(t *testing.T) {
	var screen bytes.Buffer
	c := &console{w: &screen}
	prog := &program{stderr: c}
	log := zap.New(zapcore.NewCore(logEncoder("console"), zapcore.AddSync(c), zapcore.InfoLevel))
	p := prog.newProgress(false, log)
	p.step("look")
	p.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 1}) // before any phase
	p.event(rewind.PhaseStarted{Phase: rewind.PhaseScanWAL})
	p.event(rewind.Progress{Phase: rewind.PhaseScanWAL, Done: 1 << 20})
	p.event(rewind.PhaseStarted{Phase: rewind.PhaseCopy, Total: 64 << 20})
	p.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 16 << 20, Total: 128 << 20})
	p.event(rewind.Warning{Text: "careful"})
	p.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 128 << 20, Total: 128 << 20})
	p.step("stream")
	p.close()
	log.Info("after")
	got := screen.String()
	for _, want := range []string{"scan WAL", "copy", "MiB", "looking at etcd", "waiting until the leader"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not on the screen: %q", want, got)
		}
	}
	for _, text := range []string{"careful", "after"} {
		line := got[:strings.Index(got, text)]
		line = line[strings.LastIndexAny(line, "\r\n")+1:]
		if strings.Contains(line, "copy") {
			t.Errorf("%q stands behind a bar: %q", text, line)
		}
	}
	if !strings.Contains(got, eraseLine) {
		t.Error("the bar was not taken away")
	}
	if c.drawn {
		t.Error("a bar is left on the screen")
	}
}
