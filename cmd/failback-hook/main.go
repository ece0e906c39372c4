// Command failback-hook brings an old PostgreSQL primary back after a
// failover: it finds the leader in etcd, rewinds the data directory, makes it
// a standby, starts it and waits until it streams.
//
// This package is thin: options, configuration, exit codes, progress, output
// and the door for callbacks. What is done and why is in package hook.
package main

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// main is the only place that ends the process.
func main() {
	if code, done := detachStage(); done {
		os.Exit(code)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stdout, stderr := &outlet{os.Stdout, cancel}, &outlet{os.Stderr, cancel}
	if door, ok := rewindCalled(os.Args, stdout, stderr); ok {
		interruptedBy(ctx, cancel, stderr, os.Exit)
		os.Exit(door.run(ctx))
	}
	p := newProgram(stdout, stderr)
	p.takeHangup = interruptedBy(ctx, cancel, p.stderr, os.Exit).takeHangup
	os.Exit(p.run(ctx))
}

// newProgram takes the outside world from the operating system.
func newProgram(stdout, stderr io.Writer) *program {
	p := &program{
		args:        os.Args,
		env:         environment(os.Environ()),
		stdout:      stdout,
		stderr:      stderr,
		connect:     connect,
		defaultFile: defaultConfigFile,
		stage:       os.Getenv(stageEnv),
		firstPause:  time.Second,
	}
	// What this process starts, PostgreSQL above all, is no worker.
	os.Unsetenv(stageEnv)
	if fd, ok := terminal(stderr); ok {
		p.stderr = &console{w: stderr, columns: func() int {
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
