package rewindtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server that this program started.
type process struct {
	pid  int
	done chan struct{} // closed when it was reaped
	err  error         // how it ended; valid after done
}

// startProcess starts a server that gets SIGQUIT (PostgreSQL's immediate
// shutdown) when this program dies, even by SIGKILL. The kernel ties that signal
// to the thread that forked, so one goroutine keeps that thread until the end.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// procStat is what /proc/<pid>/stat says.
type procStat struct {
	name   string
	state  byte
	parent int
}

func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	// The name is in parentheses and may hold any byte, parentheses included.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: unexpected %q", pid, b)
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 2 {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: unexpected %q", pid, b)
	}
	parent, err := strconv.Atoi(fields[1])
	return procStat{name: string(b[open+1 : end]), state: fields[0][0], parent: parent}, err
}

// alive tells whether a process runs; a zombie does not.
func alive(pid int) bool {
	st, err := readStat(pid)
	return err == nil && st.state != 'Z' && st.state != 'X'
}

func allProcesses() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// descendants are the children of a process and their children.
func descendants(root int) []int {
	children := map[int][]int{}
	for _, pid := range allProcesses() {
		if st, err := readStat(pid); err == nil {
			children[st.parent] = append(children[st.parent], pid)
		}
	}
	var all []int
	for queue := children[root]; len(queue) > 0; queue = queue[1:] {
		all = append(all, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

// processesBelow are the processes of a user whose working directory lies in dir.
func processesBelow(dir string, uid uint32) []int {
	var found []int
	for _, pid := range allProcesses() {
		st, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
		if err != nil {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != uid {
			continue
		}
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if err == nil && strings.HasPrefix(cwd, dir+string(filepath.Separator)) {
			found = append(found, pid)
		}
	}
	return found
}

// handle is a process by pidfd: it cannot come to mean another one when the
// process ends and its number is used again.
type handle struct{ pid, fd int }

func openProcess(pid int) (handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return handle{pid, fd}, err
}

func (h handle) close() { _ = unix.Close(h.fd) }

func (h handle) signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(h.fd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// wait returns when the process has ended, whoever its parent is.
func (h handle) wait(deadline time.Time) error {
	fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("wait for process %d to end: still there", h.pid)
		}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d to end: %w", h.pid, err)
		}
		if n > 0 {
			return nil
		}
	}
}

// killTree kills a process and all its descendants with SIGKILL at once, and
// returns when all have ended. The root is stopped first, so that it cannot
// fork children that nobody knows of.
func killTree(root handle, deadline time.Time) error {
	if err := root.signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", root.pid, err)
	}
	for {
		st, err := readStat(root.pid)
		if err != nil || st.state == 'T' || st.state == 'Z' {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("stop process %d: state is still %c", root.pid, st.state)
		}
		time.Sleep(time.Millisecond)
	}
	victims := []handle{root}
	for _, pid := range descendants(root.pid) {
		h, err := openProcess(pid)
		if err != nil {
			continue // ended by itself
		}
		defer h.close()
		victims = append(victims, h)
	}
	for _, v := range victims {
		if err := v.signal(syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill process %d: %w", v.pid, err)
		}
	}
	for _, v := range victims {
		if err := v.wait(deadline); err != nil {
			return err
		}
	}
	return nil
}
