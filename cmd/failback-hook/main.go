// Command failback-hook brings an old PostgreSQL primary back after a
// failover: it finds the leader in etcd, rewinds the data directory, makes it
// a standby, starts it and waits until it streams.
//
// This package is thin: options, configuration, exit codes, progress, output
// and the door for callbacks. What is done and why is in package hook.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// main is the only place that ends the process.
func main() {
	if code, done := detachStage(); done {
		os.Exit(code)
	}
	ctx, stop := signalContext(context.Background())
	defer stop()
	if door, ok := rewindCalled(os.Args); ok {
		os.Exit(door.run(ctx))
	}
	os.Exit(newProgram().run(ctx))
}

// newProgram takes the outside world from the operating system.
func newProgram() *program {
	p := &program{
		args:        os.Args,
		env:         environment(os.Environ()),
		stdout:      os.Stdout,
		stderr:      os.Stderr,
		connect:     connect,
		defaultFile: defaultConfigFile,
		stage:       os.Getenv(stageEnv),
		firstPause:  time.Second,
	}
	// What this process starts, PostgreSQL above all, is no worker.
	os.Unsetenv(stageEnv)
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) {
		p.stderr = &console{w: os.Stderr, columns: func() int {
			columns, _, err := term.GetSize(fd)
			if err != nil {
				return 80
			}
			return columns
		}}
	}
	return p
}

func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

// signalContext ends with a signalError as its cause at the first signal. A
// second one ends the process at once: the work is made to be resumed.
func signalContext(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalError{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
