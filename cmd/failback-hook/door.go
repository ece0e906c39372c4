package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/hook"
)

// door lets one callback of a node in at a time. It is a lock file beside the
// worker's log, held with flock from before the worker is started: the open
// file is handed down to it, so there is no moment at which two could pass,
// and the lock ends with the worker however that ends.
//
// The file's first line is the holder's process id. Who finds the door shut
// adds a line ("knocks"), so that the holder knows that something happened
// after it looked. The lock in etcd covers the rest: this one only has to
// answer quickly and without a network.
type door struct {
	file    *os.File
	logFile string
}

// maxLog is the size at which the worker's log is set aside (as FILE.1) before
// the next worker starts.
const maxLog = 16 << 20

// openDoor finds the place for log and lock file and opens the lock file.
func openDoor(env map[string]string, s *settings) (*door, error) {
	logFile := s.Log.File
	if logFile == "" {
		dir, err := stateDir(env, os.Getuid())
		if err != nil {
			return nil, err
		}
		logFile = filepath.Join(dir, fileName(s.Scope, s.Name)+".log")
	}
	name := filepath.Join(filepath.Dir(logFile), "."+fileName(s.Scope, s.Name)+".lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file (log.file says where): %w", err)
	}
	return &door{file: f, logFile: logFile}, nil
}

// inheritedDoor is the door that the process which started this worker has
// opened and shut behind itself.
func inheritedDoor() *door {
	// A server that is started from here must not hold the door shut.
	unix.CloseOnExec(doorFD)
	return &door{file: os.NewFile(doorFD, "lock file"), logFile: os.Stderr.Name()}
}

// enter shuts the door behind us, or knocks and gives hook.ErrInProgress.
func (d *door) enter() error {
	err := unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		if _, err := d.file.WriteString("knock\n"); err != nil {
			return fmt.Errorf("write lock file: %w", err)
		}
		return hook.ErrInProgress
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.file.Name(), err)
	}
	return d.sign()
}

// sign makes this process the holder that others read of.
func (d *door) sign() error {
	if err := d.file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := fmt.Fprintln(d.file, os.Getpid()); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// knocks counts the bytes that those before the shut door have left.
func (d *door) knocks() int64 {
	info, err := d.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// holder is the process id of who holds the door; zero when it cannot be read.
func (d *door) holder() int {
	b, err := io.ReadAll(io.NewSectionReader(d.file, 0, 32))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, _ := strconv.Atoi(line)
	return pid
}

func (d *door) close() { d.file.Close() }

// openLog opens the worker's log, and sets a large one aside first. Only the
// holder of the door does so.
func (d *door) openLog() (*os.File, error) {
	if info, err := os.Lstat(d.logFile); err == nil && info.Mode().IsRegular() && info.Size() > maxLog {
		if err := os.Rename(d.logFile, d.logFile+".1"); err != nil {
			return nil, fmt.Errorf("set log file aside: %w", err)
		}
	}
	f, err := os.OpenFile(d.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return f, nil
}

// stateDir is where log and lock file go when log.file is not set: the first
// of $XDG_STATE_HOME/failback-hook, /var/log/failback-hook (made by the
// package), ~/.local/state/failback-hook and failback-hook-UID in the
// directory for temporary files that can be used.
func stateDir(env map[string]string, uid int) (string, error) {
	if base := env["XDG_STATE_HOME"]; filepath.IsAbs(base) {
		dir := filepath.Join(base, "failback-hook")
		return dir, privateDir(dir, uid)
	}
	const system = "/var/log/failback-hook"
	if unix.Access(system, unix.W_OK|unix.X_OK) == nil {
		return system, nil
	}
	if home := env["HOME"]; filepath.IsAbs(home) {
		dir := filepath.Join(home, ".local", "state", "failback-hook")
		if privateDir(dir, uid) == nil {
			return dir, nil
		}
	}
	temporary := env["TMPDIR"]
	if temporary == "" {
		temporary = os.TempDir()
	}
	dir := filepath.Join(temporary, "failback-hook-"+strconv.Itoa(uid))
	return dir, privateDir(dir, uid)
}

// privateDir makes a directory that nobody else can write to. One that is
// there already must be ours: in /tmp everybody can be first.
func privateDir(dir string, uid int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at state directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != uid || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("state directory %s is not a directory of this user's alone; set log.file", dir)
	}
	return nil
}

// fileName joins names to one file name without surprises.
func fileName(parts ...string) string {
	clean := func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return r
		}
		return '_'
	}
	return "failback-hook." + strings.Map(clean, strings.Join(parts, "."))
}
