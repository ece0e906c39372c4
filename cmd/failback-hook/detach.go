package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// A callback hands its work over by a double fork: it starts a launcher, the
// launcher starts the worker in a session of its own and ends, and the worker
// becomes a child of init. Patroni finds a callback's descendants by their
// parents when it kills them; a session of one's own alone does not save a
// process from that. When the callback returns, the worker is out of reach.
//
// Go cannot fork without exec, so each stage is this program again with the
// same arguments; the environment says which stage it is.
const (
	stageEnv      = "_FAILBACK_HOOK_STAGE"
	stageLauncher = "launcher"
	stageWorker   = "worker"
)

// doorFD is the descriptor of the lock file in launcher and worker.
const doorFD = 3

// detach starts the launcher and gives the worker's process id.
func (p *program) detach(d *door) (int, error) {
	log, err := d.openLog()
	if err != nil {
		return 0, err
	}
	defer log.Close()
	launcher, err := nextStage(stageLauncher, p.args, log, d.file)
	if err != nil {
		return 0, err
	}
	out, err := launcher.Output()
	if err != nil {
		return 0, fmt.Errorf("run launcher (see %s): %w", d.logFile, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, fmt.Errorf("read launcher's answer: %w", err)
	}
	return pid, nil
}

// detachStage is the launcher; done is false in every other process. It comes
// before everything else in main and reads no configuration.
func detachStage() (code int, done bool) {
	if os.Getenv(stageEnv) != stageLauncher {
		return 0, false
	}
	worker, err := nextStage(stageWorker, os.Args, os.Stderr, os.NewFile(doorFD, "lock file"))
	if err == nil {
		worker.Stdout = os.Stderr
		worker.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err = worker.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "failback-hook: start worker: %v\n", err)
		return exitUnexpected, true
	}
	fmt.Println(worker.Process.Pid)
	return exitDone, true
}

// nextStage is this program once more, with the same arguments.
func nextStage(stage string, args []string, log, lock *os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if len(args) == 0 {
		return nil, errors.New("no arguments")
	}
	cmd := &exec.Cmd{
		Path:       self,
		Args:       args,
		Env:        append(os.Environ(), stageEnv+"="+stage),
		Stderr:     log,
		ExtraFiles: []*os.File{lock},
	}
	return cmd, nil
}
