package rewindtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DropRoot runs this program again as user postgres (nobody where there is no
// postgres) when it runs as root, with the same arguments, environment and
// standard streams, waits for it and returns its exit code with dropped=true.
// The caller then exits with that code. When not root it does nothing.
//
// The program is copied to a fresh directory, because the other user can read
// neither the go command's build directory nor, often, root's home. HOME and
// TMPDIR lie there too and belong to that user. Servers that the program left
// running there are ended, and the directory is removed.
func DropRoot() (exitCode int, dropped bool, err error) {
	if os.Geteuid() != 0 {
		return 0, false, nil
	}
	u, err := unprivileged()
	if err != nil {
		return 0, false, fmt.Errorf("find a user to run PostgreSQL as: %w", err)
	}
	stage, err := newStage(u)
	if err != nil {
		return 0, false, fmt.Errorf("prepare to run as %s: %w", u.name, err)
	}
	defer stage.remove()
	code, err := stage.run(os.Args[1:])
	if err != nil {
		return 0, false, fmt.Errorf("run as %s: %w", u.name, err)
	}
	return code, true, nil
}

// account is the user that runs the servers.
type account struct {
	name string
	cred syscall.Credential
}

func unprivileged() (account, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, err
	}
	// No supplementary groups: tests must not depend on those of one machine.
	return account{name: u.Username, cred: syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// stage is the directory in which the other user's run takes place.
type stage struct {
	user account
	dir  string
	exe  string
}

func newStage(u account) (_ *stage, err error) {
	parent := os.TempDir()
	if !openToAll(parent) {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "failback-")
	if err != nil {
		return nil, err
	}
	s := &stage{user: u, dir: dir, exe: filepath.Join(dir, filepath.Base(os.Args[0]))}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := copyFile("/proc/self/exe", s.exe, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.exe, 0o755); err != nil { // whatever the umask took away
		return nil, err
	}
	for _, sub := range []string{s.home(), s.tmp(), s.out()} {
		if err := s.mkdir(sub); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// mkdir makes a directory that belongs to the other user.
func (s *stage) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Chown(dir, int(s.user.cred.Uid), int(s.user.cred.Gid))
}

func (s *stage) home() string { return filepath.Join(s.dir, "home") }
func (s *stage) tmp() string  { return filepath.Join(s.dir, "tmp") }
func (s *stage) out() string  { return filepath.Join(s.dir, "out") }

// run starts the copy, passes signals on to it and waits.
func (s *stage) run(args []string) (exitCode int, err error) {
	cwd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	args, moves := redirect(args, cwd, s.out())
	for _, m := range moves {
		if m.dir {
			if err := s.mkdir(m.from); err != nil {
				return 0, err
			}
		}
	}
	cmd := exec.Command(s.exe, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = cwd
	if !openToAll(cwd) {
		cmd.Dir = s.home()
	}
	cmd.Env = s.env()
	err = runForwardingSignals(cmd, &s.user.cred)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	for _, m := range moves {
		if err := m.carry(); err != nil {
			return 0, fmt.Errorf("copy what the run wrote: %w", err)
		}
	}
	return exitCodeOf(cmd.ProcessState), nil
}

// runForwardingSignals runs a command that dies with this program and passes
// on to it what asks this program to end.
func runForwardingSignals(cmd *exec.Cmd, cred *syscall.Credential) error {
	// The death signal follows the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		signal.Stop(signals)
		return err
	}
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig) // it may be gone by now
		}
	}()
	err := cmd.Wait()
	signal.Stop(signals)
	close(signals)
	return err
}

// exitCodeOf is what a shell would say: 128 and the signal for a killed one.
func exitCodeOf(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

func (s *stage) env() []string {
	var env []string
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "HOME", "TMPDIR", "USER", "LOGNAME", "PWD", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "HOME="+s.home(), "TMPDIR="+s.tmp(), "USER="+s.user.name, "LOGNAME="+s.user.name)
}

// remove ends what still runs inside the directory, then removes it. Servers
// get SIGQUIT by themselves when the run dies; this is for those that are slow
// to obey, and whose files would otherwise come back while being removed.
func (s *stage) remove() {
	deadline := time.Now().Add(10 * time.Second)
	for {
		for _, pid := range processesBelow(s.dir, s.user.cred.Uid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := os.RemoveAll(s.dir); err == nil || time.Now().After(deadline) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// openToAll tells whether every user can read and enter a directory.
func openToAll(dir string) bool {
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil || st.Mode().Perm()&fs.FileMode(0o001) == 0 {
			return false
		}
		if d == dir && st.Mode().Perm()&0o004 == 0 {
			return false
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}
