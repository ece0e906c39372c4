package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// server stops and starts the local PostgreSQL, in the way that is configured.
// It never signals a process itself: pg_ctl, or the user's command, does.
type server struct {
	cfg Config
	// pgCtl is the pg_ctl of the data directory's version, options are those
	// for postgres; both empty unless Control is ControlPGCtl.
	pgCtl   string
	options []string
}

// settle is how long processes may take to be gone, or to be there, after the
// command that should have seen to it has returned.
const (
	settle     = 10 * time.Second
	settlePoll = 50 * time.Millisecond
)

// immediateTimeout: in an immediate stop the postmaster itself kills what has
// not ended after 5 seconds (SIGKILL_CHILDREN_AFTER_SECS in postmaster.c).
const immediateTimeout = 15 * time.Second

// newServer finds out, where pg_ctl is needed, which one and with which
// options. This is done before anything is stopped: a server that could not be
// started again stays up, and the engine removes the file with the options.
func newServer(ctx context.Context, cfg Config, major pg.Major) (*server, error) {
	s := &server{cfg: cfg}
	if cfg.Control != ControlPGCtl {
		return s, nil
	}
	var err error
	if s.pgCtl, err = findPGCtl(ctx, cfg.BinDir, major); err != nil {
		return nil, err
	}
	s.options, err = startOptions(cfg)
	return s, err
}

// stop brings the server down and returns when none of its processes is left.
// A server that does not run is fine, the backends that a dead postmaster has
// left are waited for.
func (s *server) stop(ctx context.Context) error {
	pid, err := postmaster.Find(s.cfg.PGData)
	if err != nil {
		return err
	}
	if pid != 0 {
		if err := s.stopRunning(ctx, pid); err != nil {
			return err
		}
	}
	return s.awaitGone(ctx)
}

func (s *server) stopRunning(ctx context.Context, pid int) error {
	switch s.cfg.Control {
	case ControlNone:
		return &Error{Op: fmt.Sprintf("stop server (pid %d)", pid), Err: ErrServerRunning,
			Advice: "postgresql.control is none: stop the server, then run it again"}
	case ControlCommand:
		return s.shell(ctx, "stop server", s.cfg.StopCommand, s.cfg.StopTimeout, nil)
	}
	// Smart would wait for clients, immediate would cost a standby its clean
	// end. A crash is no harm to what comes next, so when fast is not obeyed in
	// time, for a client that hangs or a walsender that waits, immediate is.
	err := s.stopMode(ctx, "fast", s.cfg.StopTimeout)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if immediate := s.stopMode(ctx, "immediate", max(s.cfg.StopTimeout, immediateTimeout)); immediate != nil {
		return errors.Join(err, immediate)
	}
	return nil
}

func (s *server) stopMode(ctx context.Context, mode string, timeout time.Duration) error {
	var out bytes.Buffer
	cmd := s.command(ctx, s.pgCtl, "stop", "-D", s.cfg.PGData, "-m", mode, "-w", "-t", seconds(timeout))
	err := runCommand(cmd, timeout+settle, &out)
	if err == nil {
		return nil
	}
	if pid, alive := postmaster.Find(s.cfg.PGData); alive == nil && pid == 0 {
		return nil // it was gone before pg_ctl asked
	}
	return &Error{Op: "stop server in mode " + mode, Err: fmt.Errorf("%w: %w%s", ErrServerControl, err, quoted(out.String())),
		Advice: "stop the server by hand, then run it again"}
}

// awaitGone waits until no process of the server is left. Backends notice the
// death of their postmaster soon, but not in the middle of everything, and
// while one is left it may write.
func (s *server) awaitGone(ctx context.Context) error {
	var left []int
	err := poll(ctx, settle, func() (bool, error) {
		var err error
		left, err = postmaster.Processes(s.cfg.PGData)
		return len(left) == 0, err
	})
	if !errors.Is(err, errTooLong) {
		return err
	}
	pids := make([]string, len(left))
	for i, p := range left {
		pids[i] = strconv.Itoa(p)
	}
	return &Error{Op: "wait for the server's processes to end",
		Err:    fmt.Errorf("%w: processes %s work in its data directory", ErrServerRunning, strings.Join(pids, ", ")),
		Advice: "nothing is killed here: find out what they wait for, end them, then run it again"}
}

// start brings the server up. Somebody else, its manager or systemd, may have
// been faster: a server that runs is fine. It returns when the server accepts
// connections or, at the end of the time, when it is at least alive: a standby
// that has much to replay is not open yet, and it may stream long before.
func (s *server) start(ctx context.Context) error {
	if pid, err := postmaster.Find(s.cfg.PGData); err != nil || pid != 0 {
		return err
	}
	begun := time.Now()
	log, err := s.openStartLog()
	if err != nil {
		return &Error{Op: "open the log for the start", Err: errors.Join(ErrServerControl, err), Advice: "check postgresql.start_log"}
	}
	defer log.Close()
	if s.cfg.Control == ControlCommand {
		err = s.shell(ctx, "start server", s.cfg.StartCommand, s.cfg.StartTimeout, log)
	} else {
		err = s.startPGCtl(ctx, log)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.confirmStart(ctx, err, begun)
}

func (s *server) startPGCtl(ctx context.Context, log *os.File) error {
	args := []string{"start", "-D", s.cfg.PGData, "-l", s.cfg.StartLog, "-w", "-t", seconds(s.cfg.StartTimeout)}
	if len(s.options) > 0 {
		// pg_ctl hands the text after -o to a shell as it is.
		quoted := make([]string, len(s.options))
		for i, o := range s.options {
			quoted[i] = shellQuote(o)
		}
		args = append(args, "-o", strings.Join(quoted, " "))
	}
	return runCommand(s.command(ctx, s.pgCtl, args...), s.cfg.StartTimeout+settle, log)
}

// confirmStart looks whether a postmaster is there, whatever the command said.
func (s *server) confirmStart(ctx context.Context, started error, begun time.Time) error {
	patience := settle
	if started != nil {
		patience = time.Second
	}
	err := poll(ctx, patience, func() (bool, error) {
		pid, err := postmaster.Find(s.cfg.PGData)
		return pid != 0, err
	})
	if !errors.Is(err, errTooLong) {
		return err
	}
	if started == nil {
		started = errors.New("no postmaster is there after the start command")
	}
	return &Error{Op: "start server", Err: fmt.Errorf("%w: %w%s", ErrServerControl, started, quoted(s.logTail(begun))),
		Advice: "the data directory is complete: when what the log says is put right, start the server"}
}

// openStartLog opens the file that takes what the server prints. Its directory
// is made like PGDATA, where it lies by default.
func (s *server) openStartLog() (*os.File, error) {
	fi, err := os.Stat(s.cfg.PGData)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(s.cfg.StartLog), fi.Mode().Perm()); err != nil {
		return nil, err
	}
	return os.OpenFile(s.cfg.StartLog, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fi.Mode().Perm()&0o660)
}

// shell runs a command of the user's.
func (s *server) shell(ctx context.Context, op, command string, timeout time.Duration, log *os.File) error {
	var out bytes.Buffer
	w := io.Writer(&out)
	if log != nil {
		w = log
	}
	if err := runCommand(s.command(ctx, "/bin/sh", "-c", command), timeout, w); err != nil {
		return &Error{Op: op, Err: fmt.Errorf("%w: command %q: %w%s", ErrServerControl, command, err, quoted(out.String())),
			Advice: "try the command by hand, as the user that runs this program"}
	}
	return nil
}

func (s *server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = append(serverEnviron(os.Environ()), "PGDATA="+s.cfg.PGData)
	// A group of its own, so that Ctrl-C in a terminal ends us and not, through
	// pg_ctl, the server that is starting.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	return cmd
}

// runCommand runs cmd within a time. When out is a file the child gets the file
// itself, and not a pipe that a server would hold open, and break when we end.
func runCommand(cmd *exec.Cmd, timeout time.Duration, out io.Writer) error {
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(timeout, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	err := cmd.Wait()
	if !late.Stop() && err != nil {
		return fmt.Errorf("not done after %s: %w", timeout, err)
	}
	return err
}

// serverEnviron is our environment without what the server must not inherit:
// PGPORT and its like are settings to it, a PGPASSWORD would log its
// walreceiver in until the next restart and no longer, and the secrets of etcd
// are none of its business. PG_ variables are the server's own.
func serverEnviron(environ []string) []string {
	var kept []string
	for _, kv := range environ {
		libpq := strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "PG_")
		if !libpq && !strings.HasPrefix(kv, "ETCDCTL_") && !strings.HasPrefix(kv, "FAILBACK_HOOK_") {
			kept = append(kept, kv)
		}
	}
	return kept
}

var errTooLong = errors.New("took too long")

// poll asks until the answer is yes; errTooLong when the time is over.
func poll(ctx context.Context, timeout time.Duration, done func() (bool, error)) error {
	deadline := time.Now().Add(timeout)
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return errTooLong
		}
		if err := sleep(ctx, settlePoll); err != nil {
			return err
		}
	}
}

// seconds prints a duration for pg_ctl -t, which knows whole seconds only.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}

// shellQuote makes one word of a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoted appends what a program printed to an error, when it printed anything.
func quoted(out string) string {
	if out = strings.TrimSpace(out); out == "" {
		return ""
	}
	return ": " + out
}
