package rewind

import (
	"fmt"

	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// refuseRunning: nothing is written under a running server, nor planned as if
// it stood still. Backends that have outlived their postmaster may still write.
func refuseRunning(dir string) error {
	pids, err := postmaster.Processes(dir)
	if err != nil {
		return &Error{Op: "look for a running server", Path: dir, Err: err}
	}
	pid, err := postmaster.Find(dir)
	if err != nil {
		return &Error{Op: "look for a running server", Path: dir, Err: err}
	}
	if pid == 0 && len(pids) > 0 {
		pid = pids[0]
	}
	if pid == 0 {
		return nil
	}
	return &Error{Op: "check the data directory", Path: dir, Err: fmt.Errorf("%w: pid %d", ErrTargetRunning, pid), Advice: "stop the server first"}
}
