package rewindtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StopMode is how a server is told to stop; pg_ctl's names.
type StopMode string

// The modes of pg_ctl stop.
const (
	Smart     StopMode = "smart"     // waits for clients to leave
	Fast      StopMode = "fast"      // ends sessions, writes the shutdown checkpoint
	Immediate StopMode = "immediate" // quits without a checkpoint; recovery at the next start
)

func (m StopMode) signal() (syscall.Signal, error) {
	switch m {
	case Smart:
		return syscall.SIGTERM, nil
	case Fast:
		return syscall.SIGINT, nil
	case Immediate:
		return syscall.SIGQUIT, nil
	}
	return 0, fmt.Errorf("stop server: unknown mode %q", string(m))
}

// Start starts the server and returns when it accepts connections, which a
// standby does once it is consistent. The error of a server that ended instead
// holds the end of its log.
func (n *Node) Start() error {
	if n.Running() {
		return fmt.Errorf("start %s: it is running", n.Name)
	}
	log, err := os.OpenFile(n.outLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(n.Install.Path("postgres"), "-D", n.Dir)
	cmd.Env = cleanEnviron()
	cmd.Dir = n.base()
	cmd.Stdout, cmd.Stderr = log, log
	n.proc, err = startProcess(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	err = poll("the server to be ready", func() (bool, string, error) {
		select {
		case <-n.proc.done:
			return false, "", fmt.Errorf("the server ended: %w", endOf(n.proc))
		default:
		}
		l, err := readLockFile(n.Dir)
		if err != nil {
			return false, err.Error(), nil
		}
		ready := l.pid == n.proc.pid && (l.status == "ready" || l.status == "standby")
		return ready, "status " + l.status, nil
	})
	if err != nil {
		return fmt.Errorf("start %s: %w\n%s", n.Name, err, n.Log(30))
	}
	return nil
}

func endOf(p *process) error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// Stop stops the server, whoever started it, and returns when it is gone. No
// server is no error.
func (n *Node) Stop(mode StopMode) error {
	sig, err := mode.signal()
	if err != nil {
		return err
	}
	return n.end(func(h handle, deadline time.Time) error {
		if err := h.signal(sig); err != nil {
			return fmt.Errorf("stop %s: %w", n.Name, err)
		}
		return h.wait(deadline)
	})
}

// Kill ends the postmaster and all its children by SIGKILL at once, as a lost
// machine would, and returns when all are gone. postmaster.pid stays. No server
// is no error.
func (n *Node) Kill() error { return n.end(killTree) }

// end runs how on the postmaster and waits until it has been reaped, if it is
// this program's child: a zombie still counts as running to pg_ctl and others.
func (n *Node) end(how func(handle, time.Time) error) error {
	pid := n.PID()
	if pid == 0 {
		return nil
	}
	h, err := openProcess(pid)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return fmt.Errorf("end %s: %w", n.Name, err)
	}
	defer h.close()
	deadline := time.Now().Add(patience)
	if err := how(h, deadline); err != nil {
		return fmt.Errorf("end %s: %w\n%s", n.Name, err, n.Log(30))
	}
	if n.proc != nil && n.proc.pid == pid {
		<-n.proc.done
	}
	return nil
}

// Restart stops the server in fast mode and starts it.
func (n *Node) Restart() error {
	if err := n.Stop(Fast); err != nil {
		return err
	}
	return n.Start()
}

// Running tells whether a postmaster runs on the data directory.
func (n *Node) Running() bool { return n.PID() != 0 }

// PID is the postmaster's process id, whoever started it; 0 when none runs.
func (n *Node) PID() int {
	l, err := readLockFile(n.Dir)
	if err != nil || !alive(l.pid) {
		return 0
	}
	// A stale file may name a process that has nothing to do with us.
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", l.pid))
	if err != nil {
		return 0
	}
	dir, err := filepath.EvalSymlinks(n.Dir)
	if err != nil || cwd != dir {
		return 0
	}
	return l.pid
}

// lockFile is what postmaster.pid says (miscadmin.h, LOCK_FILE_LINE_*).
type lockFile struct {
	pid    int
	shmID  int // System V segment; -1 when not there yet
	status string
}

func readLockFile(dataDir string) (lockFile, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return lockFile{}, err
	}
	lines := strings.Split(string(b), "\n")
	l := lockFile{shmID: -1}
	if l.pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil || l.pid <= 0 {
		return lockFile{}, fmt.Errorf("read postmaster.pid: no process id in %q", lines[0])
	}
	if len(lines) > 6 {
		if f := strings.Fields(lines[6]); len(f) == 2 {
			if id, err := strconv.Atoi(f[1]); err == nil {
				l.shmID = id
			}
		}
	}
	if len(lines) > 7 {
		l.status = strings.TrimSpace(lines[7])
	}
	return l, nil
}

// Close stops the server, removes everything below the node's directory and
// gives back its port and the memory that a killed server has left.
func (n *Node) Close() error {
	err := n.Stop(Immediate)
	if err != nil {
		err = n.Kill()
	}
	n.removeSharedMemory()
	return errors.Join(err, removeAll(n.base()), n.port.release())
}

// removeSharedMemory removes the System V segment of a killed server, which
// otherwise only its next start would remove.
func (n *Node) removeSharedMemory() {
	l, err := readLockFile(n.Dir)
	if err != nil || l.shmID < 0 || n.Running() {
		return
	}
	var desc unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(l.shmID, unix.IPC_STAT, &desc); err != nil || desc.Nattch != 0 {
		return // gone, or in use: the number may mean another one by now
	}
	_, _ = unix.SysvShmCtl(l.shmID, unix.IPC_RMID, nil)
}

// removeAll is os.RemoveAll, tried again while the server's log process, which
// outlives the postmaster by a moment, makes files in it.
func removeAll(dir string) error {
	return poll("the directory to be removed", func() (bool, string, error) {
		err := os.RemoveAll(dir)
		if errors.Is(err, fs.ErrPermission) {
			return false, "", err
		}
		return err == nil, fmt.Sprint(err), nil
	})
}

func (n *Node) logDir() string {
	if n.opts.LogInside {
		return "log" // relative to PGDATA
	}
	return filepath.Join(n.base(), "log")
}

// LogFile is the server's log.
func (n *Node) LogFile() string {
	if n.opts.LogInside {
		return filepath.Join(n.Dir, "log", logName)
	}
	return filepath.Join(n.base(), "log", logName)
}

// outLog gets what the server says before its log process runs.
func (n *Node) outLog() string { return filepath.Join(n.base(), "log", "start.log") }

// Log is the end of the server's log, at most so many lines of each of its two
// files: what it said before its log process ran, if that was more than the
// notice that it will, and the log itself.
func (n *Node) Log(lines int) string {
	var b strings.Builder
	for _, file := range []string{n.outLog(), n.LogFile()} {
		content, err := os.ReadFile(file)
		if err != nil || len(content) == 0 {
			continue
		}
		all := slices.DeleteFunc(strings.Split(strings.TrimRight(string(content), "\n"), "\n"), func(line string) bool {
			return strings.Contains(line, "redirecting log output") || strings.Contains(line, "Future log output")
		})
		if len(all) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s of %s:\n%s\n", filepath.Base(file), n.Name, strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return b.String()
}
