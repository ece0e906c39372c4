package rewind

import (
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// orphanPatience is how long processes that have outlived their postmaster may
// take to notice: the log collector is the last, some milliseconds after it.
const orphanPatience = 5 * time.Second

// refuseRunning: nothing is written under a running server, nor planned as if
// it stood still. Backends that have outlived their postmaster may still write.
func refuseRunning(dir string) error {
	for deadline := time.Now().Add(orphanPatience); ; time.Sleep(20 * time.Millisecond) {
		pid, orphans, err := serverOn(dir)
		if err != nil {
			return &Error{Op: "look for a running server", Path: dir, Err: err}
		}
		switch {
		case pid == 0 && len(orphans) == 0:
			return nil
		case pid == 0 && time.Now().Before(deadline):
			continue
		case pid == 0:
			pid = orphans[0]
		}
		return &Error{Op: "check the data directory", Path: dir, Err: fmt.Errorf("%w: pid %d", ErrTargetRunning, pid), Advice: "stop the server first"}
	}
}

// serverOn finds the postmaster, zero for none, and all processes of its server.
func serverOn(dir string) (pid int, family []int, err error) {
	if pid, err = postmaster.Find(dir); err != nil {
		return 0, nil, err
	}
	family, err = postmaster.Processes(dir)
	return pid, family, err
}
