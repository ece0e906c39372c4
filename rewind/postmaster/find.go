package postmaster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pidFile is what postmaster.pid says (utils/pidfile.h, the same in 13 to 18):
// one value on each line, of which the first three matter here.
type pidFile struct {
	// pid of the postmaster, or of a single-user server, whose file has it negative.
	pid int
	// started is when it says it was started; whole seconds.
	started time.Time
}

// pidFileSlack is how far the start of a process and the time in its pid file
// may lie apart: the file has whole seconds, and the clock may have been set.
const pidFileSlack = 3 * time.Second

// MaxPIDFile bounds what is read of a postmaster.pid, in bytes.
const MaxPIDFile = 8 << 10

// readPIDFile reads postmaster.pid; ok is false when there is none or nothing
// can be made of it.
func readPIDFile(pgdata string) (f pidFile, ok bool, err error) {
	name := filepath.Join(pgdata, "postmaster.pid")
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() > MaxPIDFile {
		return pidFile{}, false, nil
	}
	if err != nil {
		return pidFile{}, false, fmt.Errorf("read postmaster.pid: %w", err)
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, false, nil
	}
	if err != nil {
		return pidFile{}, false, fmt.Errorf("read postmaster.pid: %w", err)
	}
	f, ok = parsePIDFile(string(b))
	return f, ok, nil
}

func parsePIDFile(s string) (pidFile, bool) {
	lines := strings.Split(s, "\n")
	pid, ok := atoi(strings.TrimSpace(lines[0]))
	if !ok || pid == 0 {
		return pidFile{}, false
	}
	f := pidFile{pid: max(pid, -pid)}
	if len(lines) > 2 {
		if sec, err := strconv.ParseInt(strings.TrimSpace(lines[2]), 10, 64); err == nil {
			f.started = time.Unix(sec, 0)
		}
	}
	return f, true
}

// Find finds the server that is alive on the data directory and returns its
// process id; zero when there is none.
//
// The pid file alone proves nothing: it stays when the machine crashes, and
// after the reboot another program has the number; and it is in every copy that
// was made of the directory of a running server. The file's absence proves
// nothing either, as somebody may have removed it under a running server, so
// the processes are looked through as well.
func Find(pgdata string) (pid int, err error) {
	f, ok, err := readPIDFile(pgdata)
	if err != nil {
		return 0, err
	}
	if ok {
		alive, err := isPostmaster(pgdata, f)
		if err != nil || alive {
			return f.pid, err
		}
	}
	family, err := serverProcesses(pgdata)
	if err != nil {
		return 0, err
	}
	return head(family), nil
}

// isPostmaster: a server works in its data directory. Where the kernel does not
// show that, the process has to be as old as the file says.
func isPostmaster(pgdata string, f pidFile) (bool, error) {
	dir, err := os.Stat(pgdata)
	if err != nil {
		return false, fmt.Errorf("look for the postmaster: %w", err)
	}
	p, ok := findProcess(f.pid)
	if !ok || f.pid == os.Getpid() {
		return false, nil
	}
	if !procMounted() {
		return true, nil
	}
	if !p.isPostgres() {
		return false, nil
	}
	here, known := p.worksIn(dir)
	return here || !known && p.startedAt(f.started, pidFileSlack), nil
}

// head finds the postmaster among the processes of a server: the parent of the
// others, when they have one. Backends whose postmaster is dead have been
// handed to init, or to a subreaper, and have none among them; they end by
// themselves once they notice.
func head(family []process) int {
	children := make(map[int]int)
	for _, p := range family {
		children[p.parent]++
	}
	for _, p := range family {
		if children[p.pid] > 0 {
			return p.pid
		}
	}
	return 0
}
