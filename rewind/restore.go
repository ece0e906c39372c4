package rewind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// archive fetches files of the target's WAL from its archive, by the server's
// restore_command. Nothing that it fetches goes into pg_wal by itself: a plan
// must not change the directory. Files lie in a temporary directory ($TMPDIR)
// that is removed with the target, and no more than maxRestored bytes of them.
type archive struct {
	command string
	// pgdata is where the command runs, as it does for the server.
	pgdata string
	dir    string
	kept   []restored
	size   int64 // of all that is kept
}

// restored is a file that was fetched and is still there.
type restored struct {
	path string
	size int64
}

// maxRestored bounds the space that restored segments take: 64 common ones. The
// last two stay whatever their size, for a record that goes over their border.
const maxRestored = 1 << 30

// abortStatus is the exit status of restore_command above which PostgreSQL
// gives up instead of taking the file for missing (RestoreArchivedFile in
// access/transam/xlogarchive.c): 126 and 127 are the shell's own, and what is
// above tells of a signal.
const abortStatus = 125

// open gives a file from the archive; fs.ErrNotExist when the archive has none.
func (a *archive) open(ctx context.Context, name string) (_ *os.File, err error) {
	if a.dir == "" {
		tmp, err := filepath.Abs(os.TempDir()) // the command runs elsewhere
		if err == nil {
			a.dir, err = os.MkdirTemp(tmp, "failback-hook-wal-")
		}
		if err != nil {
			return nil, &Error{Op: "make directory for restored WAL", Err: err}
		}
	}
	to := filepath.Join(a.dir, name)
	f, err := os.Open(to)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := a.restore(ctx, name, to); err != nil {
		return nil, errors.Join(err, removeIfThere(to)) // half a file is none
	}
	fi, err := os.Stat(to)
	if err != nil {
		return nil, err
	}
	a.kept = append(a.kept, restored{to, fi.Size()})
	a.size += fi.Size()
	for a.size > maxRestored && len(a.kept) > 2 {
		if err := os.Remove(a.kept[0].path); err != nil {
			return nil, &Error{Op: "remove restored WAL", Err: err}
		}
		a.size -= a.kept[0].size
		a.kept = a.kept[1:]
	}
	return os.Open(to)
}

func removeIfThere(p string) error {
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// restore runs the command for one file.
func (a *archive) restore(ctx context.Context, name, to string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", expandRestoreCommand(a.command, name, to))
	cmd.Dir = a.pgdata
	// In a group of its own, so that what the shell has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what has left the group
	said, err := cmd.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		_, err := os.Stat(to) // success without a file is no success
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !failed || exit.ExitCode() < 0 || exit.ExitCode() > abortStatus:
		if len(said) > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(said[:min(len(said), 1024)]))
		}
		return &Error{Op: "run restore_command", Path: name, Err: err,
			Advice: "a command that ends so is taken for broken, not for an archive without the file: run it by hand"}
	}
	return &fs.PathError{Op: "restore", Path: name, Err: fs.ErrNotExist}
}

// nothingToKeep stands for %r, the oldest file that a restart needs: all zeros
// is how the server says that no file may be cleaned up (RestoreArchivedFile).
const nothingToKeep = "000000000000000000000000"

// expandRestoreCommand replaces %f, %p, %r and %%. Elsewhere a per cent sign
// stands for itself.
func expandRestoreCommand(command, name, to string) string {
	var b strings.Builder
	for i := 0; i < len(command); i++ {
		if command[i] != '%' || i+1 == len(command) {
			b.WriteByte(command[i])
			continue
		}
		i++
		switch command[i] {
		case 'f':
			b.WriteString(name)
		case 'p':
			b.WriteString(to)
		case 'r':
			b.WriteString(nothingToKeep)
		case '%':
			b.WriteByte('%')
		default:
			b.WriteByte('%')
			b.WriteByte(command[i])
		}
	}
	return b.String()
}

// close removes what was restored.
func (a *archive) close() error {
	if a == nil || a.dir == "" {
		return nil
	}
	return os.RemoveAll(a.dir)
}

// openWAL opens a segment or history file of the target's: the one that it has,
// or the archive's, where there is an archive.
func (t *target) openWAL(ctx context.Context, name string) (*os.File, error) {
	f, err := t.openOwnWAL(name)
	if errors.Is(err, fs.ErrNotExist) && t.archive != nil {
		f, err = t.archive.open(ctx, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingWALError{Name: name, Err: err}
	}
	return f, err
}

// openOwnWAL opens a file of the target's WAL that lies in the directory: the
// one that an interrupted run moved aside, which comes first since in pg_wal
// there may by now be one of the source with the same name; or the one in
// pg_wal, if it is the target's.
func (t *target) openOwnWAL(name string) (f *os.File, err error) {
	err = fs.ErrNotExist
	if t.resume != nil { // what a finished run left there is of a branch long given up
		f, err = t.openAside(name)
	}
	if errors.Is(err, fs.ErrNotExist) && t.resume.ownsWAL(name) {
		f, err = t.openFile("pg_wal/" + name)
	}
	return f, err
}

func (t *target) openAside(name string) (*os.File, error) {
	if !t.resume.ownsWAL(name) {
		return nil, fs.ErrNotExist
	}
	return t.openFile(asideDir + "/" + name)
}

// readWAL reads a small file as openWAL finds it.
func (t *target) readWAL(ctx context.Context, name string, limit int64) (b []byte, err error) {
	f, err := t.openWAL(ctx, name)
	if err != nil {
		return nil, err
	}
	defer closing(&err, f.Close)
	return readAll(f, name, limit)
}

// inArchive tells whether the archive has a file; false without an archive.
func (t *target) inArchive(ctx context.Context, name string) (bool, error) {
	if t.archive == nil {
		return false, nil
	}
	f, err := t.archive.open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}
