package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/failback-hook/failback-hook/rewind"
)

// refuseRunning looks at postmaster.pid, whose first line is the process id of
// the postmaster, negative for a single-user server (src/include/utils/pidfile.h).
func refuseRunning(data *os.Root, path string) error {
	const op = "read postmaster.pid of the source"
	text, err := data.ReadFile("postmaster.pid")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fileError(op, path, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return &rewind.Error{Op: op, Path: path, Err: errors.New("the first line is not a process id"),
			Advice: "if no server runs on this directory, remove postmaster.pid"}
	}
	if pid = max(pid, -pid); pid <= 1 || !isServer(pid) {
		return nil // left behind by a crash
	}
	return &rewind.Error{Op: "open source data directory", Path: path,
		Err:    fmt.Errorf("process %d: %w", pid, rewind.ErrTargetRunning),
		Advice: "stop the server, or name it as a running source"}
}

// isServer tells whether a process runs and is a PostgreSQL server. Process
// numbers are used again after a restart of the machine, and a dead process
// keeps its number until its parent takes notice.
func isServer(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	// "pid (name) state …", see proc(5). Where it cannot be read, the signal counts.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return true
	}
	name, state := string(stat[open+1:end]), strings.TrimSpace(string(stat[end+1:]))
	return !strings.HasPrefix(state, "Z") && (strings.HasPrefix(name, "postgres") || strings.HasPrefix(name, "postmaster"))
}
