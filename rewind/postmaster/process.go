package postmaster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is what the kernel says of one process that is alive; a zombie is not.
type process struct {
	pid, parent int
	// program is the base name of its executable, or the kernel's short name
	// where the executable may not be looked at.
	program string
	// ticks since boot at which it was started; only good for comparing.
	ticks uint64
}

// clockTicks per second in /proc: USER_HZ, which is 100 on every architecture
// that Go and PostgreSQL both run on.
const clockTicks = 100

// findProcess looks a process up; ok is false when there is none, or only a zombie.
func findProcess(pid int) (p process, ok bool) {
	if pid <= 0 {
		return process{}, false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) && !procMounted() {
		return process{pid: pid}, !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	if err != nil {
		return process{}, false
	}
	return parseStat(pid, b)
}

// procMounted: without /proc only signal 0 tells whether a process is there.
func procMounted() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

// parseStat reads /proc/<pid>/stat (proc_pid_stat(5)): pid, name in
// parentheses, state, parent, and as field 22 the time of start. The name may
// hold any byte, parentheses included.
func parseStat(pid int, b []byte) (p process, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 || strings.ContainsAny(fields[0], "ZXx") {
		return process{}, false
	}
	p = process{pid: pid, program: string(b[open+1 : end])}
	if p.parent, ok = atoi(fields[1]); !ok {
		return process{}, false
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}, false
	}
	p.ticks = ticks
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
		// A package upgrade replaces the file under a running server.
		p.program = strings.TrimSuffix(filepath.Base(exe), " (deleted)")
	}
	return p, true
}

func atoi(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// worksIn tells whether dir is the process's working directory: that of every
// process of a server is its data directory. known is false when the kernel
// does not show it, as with processes of other users.
func (p process) worksIn(dir fs.FileInfo) (here, known bool) {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", p.pid))
	return err == nil && os.SameFile(cwd, dir), err == nil
}

// startedAt tells whether the process was started at t, give or take slack.
func (p process) startedAt(t time.Time, slack time.Duration) bool {
	boot, ok := bootTime()
	if !ok || p.ticks == 0 {
		return false
	}
	started := boot.Add(time.Duration(p.ticks) * (time.Second / clockTicks))
	return started.Sub(t).Abs() <= slack
}

// bootTime is the line btime of /proc/stat.
func bootTime() (time.Time, bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			sec, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Unix(sec, 0), err == nil
		}
	}
	return time.Time{}, false
}

// isPostgres knows the names under which the server is shipped; a shell that
// somebody left in the data directory is none of them.
func (p process) isPostgres() bool {
	return strings.HasPrefix(p.program, "postgres") || p.program == "postmaster" || p.program == "edb-postgres"
}

// Processes are the ids of the living processes of a server on the data
// directory, with or without their postmaster: backends notice its death soon,
// but not in the middle of everything, and while one is left it may write.
func Processes(pgdata string) ([]int, error) {
	family, err := serverProcesses(pgdata)
	pids := make([]int, len(family))
	for i, p := range family {
		pids[i] = p.pid
	}
	return pids, err
}

// serverProcesses are the living processes of a server on the data directory,
// with or without their postmaster. What belongs to other users is not seen;
// they could not work in a directory that is ours alone.
func serverProcesses(pgdata string) ([]process, error) {
	dir, err := os.Stat(pgdata)
	if err != nil {
		return nil, fmt.Errorf("look for server processes: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for server processes: %w", err)
	}
	var found []process
	for _, e := range entries {
		pid, ok := atoi(e.Name())
		if !ok || pid == os.Getpid() {
			continue
		}
		p, ok := findProcess(pid)
		if !ok || !p.isPostgres() {
			continue
		}
		if here, _ := p.worksIn(dir); here {
			found = append(found, p)
		}
	}
	return found, nil
}
