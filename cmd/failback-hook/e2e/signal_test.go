package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestEndedDuringWork: whatever ends a run in the middle of the work, short of a
// kill, ends it at a safe point: the lock is given back, the exit code tells
// what it was, what is printed is the state of the node, and the same command
// goes on.
func TestEndedDuringWork(t *testing.T) {
	t.Parallel()
	s, proxy, pristine := workScene(t, 239)
	for _, c := range []struct {
		name string
		code int
		args []string
		end  func(t *testing.T, r *running)
	}{
		{name: "SIGTERM", code: 143, end: func(t *testing.T, r *running) { halt(t, r, syscall.SIGTERM) }},
		{name: "SIGINT", code: 130, end: func(t *testing.T, r *running) { halt(t, r, syscall.SIGINT) }},
		{name: "SIGHUP, twice as a shell does", code: 143, end: func(t *testing.T, r *running) {
			halt(t, r, syscall.SIGHUP)
			halt(t, r, syscall.SIGCONT)
			r.untilSays(t, "stopping at a safe point")
			halt(t, r, syscall.SIGHUP)
		}},
		{name: "SIGTERM while waiting", code: 143, args: []string{"--wait", "1m"}, end: func(t *testing.T, r *running) {
			proxy.Refuse(true)
			proxy.Reset()
			halt(t, r, syscall.SIGCONT)
			r.untilSays(t, "trying again")
			halt(t, r, syscall.SIGTERM)
			t.Cleanup(func() { proxy.Refuse(false) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.restore(t, pristine)
			r := s.startHalted(t, c.args...)
			c.end(t, r)
			halt(t, r, syscall.SIGCONT)
			res := r.wait(t).must(t, c.code)
			if res.took > 30*time.Second {
				t.Errorf("it took %s to end", res.took)
			}
			proxy.Refuse(false)
			s.stopped(t, res.stderr)
		})
	}
	t.Run("the reader of its output has gone", func(t *testing.T) {
		s.restore(t, pristine)
		s.readerGone(t)
	})
	t.Run("the terminal is closed", func(t *testing.T) {
		s.restore(t, pristine)
		s.terminalClosed(t)
	})
	t.Run("nohup", func(t *testing.T) {
		s.restore(t, pristine)
		s.nohup(t)
	})
	t.Run("SIGINT twice", func(t *testing.T) {
		s.restore(t, pristine)
		s.interruptedTwice(t)
	})
}

// stopped: a run has ended early and in order.
func (s *scene) stopped(t *testing.T, stderr string) {
	t.Helper()
	s.noLocks(t)
	half := s.state(t) == latched
	if half {
		mustNotStart(t, s.old)
	}
	if told := strings.Contains(stderr, "no server can start here until it is finished"); told != half && stderr != "" {
		t.Errorf("half-done: %v; it says so: %v:\n%s", half, told, stderr)
	}
}

// readerGone closes the pipe that the program's log goes to.
func (s *scene) readerGone(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := s.command(t.Context(), t, s.old, "--log-level", "debug")
	cmd.Stderr = write
	r := &running{scene: s, cmd: cmd, cancel: func() {}, begun: time.Now()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	until(t, "the directory to be changed", func() bool { return s.workUnderWay(t) })
	read.Close()
	r.wait(t).must(t, 141)
	s.stopped(t, "")
}

// terminalClosed runs the program in a session on a terminal of its own, and
// hangs up: as when an ssh session ends.
func (s *scene) terminalClosed(t *testing.T) {
	ours, theirs := openTerminal(t)
	cmd := s.command(t.Context(), t, s.old)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	r := &running{scene: s, cmd: cmd, cancel: func() {}, begun: time.Now()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	until(t, "the directory to be changed", func() bool { return s.workUnderWay(t) })
	ours.Close()
	r.wait(t).must(t, 143)
	s.stopped(t, "")
}

// openTerminal makes a pseudo-terminal; ours is the end of who looks at it.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	// Without the runtime's poller: closing it has to hang up at once.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	ours = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// nohup: a SIGHUP that was ignored from the start is none.
func (s *scene) nohup(t *testing.T) {
	cmd := s.command(t.Context(), t, s.old, "--output", "json")
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, cmd.Args...)
	r := &running{scene: s, cmd: cmd, cancel: func() {}, begun: time.Now()}
	cmd.Stdout, cmd.Stderr = &r.stdout, &r.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the directory to be changed", func() bool { return s.workUnderWay(t) })
	halt(t, r, syscall.SIGHUP)
	s.isBack(t, r, "")
}

// interruptedTwice: the end takes its time, as etcd does not answer; a person
// who does not want to wait for it does not have to.
func (s *scene) interruptedTwice(t *testing.T) {
	s.lines = "lock:\n  ttl: 2s\n"
	r := s.startHalted(t, "--etcd-request-timeout", "30s")
	s.etcd.Stall()
	halt(t, r, syscall.SIGINT)
	halt(t, r, syscall.SIGCONT)
	r.untilSays(t, "once more ends it on the spot")
	begun := time.Now()
	halt(t, r, syscall.SIGINT)
	res := r.wait(t).must(t, 130)
	s.etcd.Resume()
	if took := time.Since(begun); took > 10*time.Second || !strings.Contains(res.stderr, "ended on the spot") {
		t.Errorf("it took %s:\n%s", took, res.stderr)
	}
	if s.state(t) == latched {
		mustNotStart(t, s.old)
	}
	s.bringBack(t, 0) // when the lock that was left has ended
	follows(t, s.old, s.leader)
	rewindtest.AmCheck(t, s.old)
}
