package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// errOutputClosed is the cause of a context that ended because nobody reads any
// more what is printed.
var errOutputClosed = errors.New("standard output or standard error was closed by its reader")

// interruption turns signals into the end of a context.
type interruption struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	signals chan os.Signal
	stderr  io.Writer
	exit    func(code int)

	mu       sync.Mutex
	onHangup func()
}

// takeHangup has SIGHUP mean what it means to a daemon, until release.
func (i *interruption) takeHangup(reload func()) (release func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.onHangup = reload
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.onHangup = nil
	}
}

// hangup is what SIGHUP means; nil for what the other signals do.
func (i *interruption) hangup() func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.onHangup
}

// interruptedBy listens to signals until stop.
//
// The first one of SIGINT, SIGTERM and SIGHUP ends the context, with a
// signalError as its cause: the work stops at a safe point and the lock is given
// back. After that only one more SIGINT counts, which ends the process on the
// spot, since a person is there and does not want to wait; the work is made to
// be resumed. The others come in pairs without anybody meaning it: a shell hands
// the SIGHUP of its terminal on to processes that have had it from the kernel.
//
// A signal that is ignored stays ignored: nohup, and shells that start
// something in the background, mean it so.
//
// SIGPIPE is taken only so that it does not kill: Go's runtime ends a process
// that writes to a closed standard output or error. It is not taken for news,
// because broken connections raise it too; that the output is gone is seen by
// whoever writes there (outlet).
func interruptedBy(ctx context.Context, cancel context.CancelCauseFunc, stderr io.Writer, exit func(int)) *interruption {
	i := &interruption{ctx: ctx, cancel: cancel, signals: make(chan os.Signal, 4), stderr: stderr, exit: exit}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(i.signals, s)
		}
	}
	go i.listen()
	return i
}

func (i *interruption) listen() {
	for s := range i.signals {
		if reload := i.hangup(); reload != nil && s == syscall.SIGHUP {
			reload()
			continue
		}
		first := i.ctx.Err() == nil
		i.cancel(signalError{s.(syscall.Signal)}) // the first cause counts
		switch {
		case first && s == syscall.SIGINT:
			i.say("%s: stopping at a safe point; once more ends it on the spot", s)
		case first:
			i.say("%s: stopping at a safe point", s)
		case s == syscall.SIGINT:
			i.say("%s: ended on the spot. If the data directory was being changed, no server can start on it until the work is finished: "+
				"run it again, it goes on from where it is", s)
			i.exit(128 + int(syscall.SIGINT))
		}
	}
}

func (i *interruption) say(format string, args ...any) {
	fmt.Fprintf(i.stderr, "failback-hook: "+format+"\n", args...)
}

// stop lets signals have their way again.
func (i *interruption) stop() {
	signal.Stop(i.signals)
	close(i.signals)
	i.cancel(nil)
}

// outlet is standard output or error. When its reader has gone away the run is
// told: a pager that was closed, or the other end of an ssh session, is how
// people leave.
type outlet struct {
	file *os.File
	lost func(error)
}

// Write passes on, and notices that nobody reads.
func (o *outlet) Write(b []byte) (int, error) {
	n, err := o.file.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		o.lost(errOutputClosed)
	}
	return n, err
}

// terminal tells whether a writer ends at one, and at which descriptor.
func terminal(w io.Writer) (fd int, ok bool) {
	var file *os.File
	switch w := w.(type) {
	case *outlet:
		file = w.file
	case *os.File:
		file = w
	default:
		return 0, false
	}
	fd = int(file.Fd())
	return fd, term.IsTerminal(fd)
}
