package rewind

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// postmasterAlive tells whether a server runs on the directory. The pid file
// alone does not tell: a server that was killed leaves it behind, and its pid
// may belong to another program by now. A postmaster has the data directory as
// its working directory (it changes there at start), which no other program's
// pid will have by chance.
func postmasterAlive(t *target) (alive bool, pid int, err error) {
	b, err := t.readFile("postmaster.pid", 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, &Error{Op: "read pid file", Path: "postmaster.pid", Err: err}
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err = strconv.Atoi(strings.TrimSpace(string(line)))
	if err != nil {
		return false, 0, &Error{Op: "read pid file", Path: "postmaster.pid", Err: fmt.Errorf("%w: %w", ErrDamaged, err),
			Advice: "make sure that no server runs on this directory, then remove the file"}
	}
	if pid < 0 {
		pid = -pid // a standalone backend
	}
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return false, pid, nil
	}
	return worksIn(pid, t.dir), pid, nil
}

// worksIn tells whether a process that exists has dir as its working
// directory. Where that cannot be seen the answer is yes: rather refuse a
// stopped directory than write into a running one.
func worksIn(pid int, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil && isZombie(stat) {
		return false
	}
	cwd, err := os.Stat(filepath.Join(proc, "cwd"))
	if err != nil {
		return true
	}
	data, err := os.Stat(dir)
	return err != nil || os.SameFile(cwd, data)
}

// isZombie reads the state from /proc/PID/stat; it follows the command name,
// which is in parentheses and may hold any character.
func isZombie(stat []byte) bool {
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && i+2 < len(stat) && stat[i+2] == 'Z'
}
