package source

import (
	"fmt"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// refuseRunning: files that a server is writing are no source.
func refuseRunning(path string) error {
	const op = "open source data directory"
	pid, err := postmaster.Find(path)
	if err != nil {
		return &rewind.Error{Op: op, Path: path, Err: err}
	}
	if pid == 0 {
		return nil
	}
	return &rewind.Error{Op: op, Path: path, Err: fmt.Errorf("process %d: %w", pid, rewind.ErrTargetRunning),
		Advice: "stop the server, or name it as a running source"}
}
