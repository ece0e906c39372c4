package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
)

// controlFile is relative to PGDATA.
const controlFile = "global/pg_control"

// A running server writes its control file in place. Whoever reads meanwhile
// sees half of each and a checksum that fails; it is read again so many times.
const (
	controlTries = 10
	controlPause = 10 * time.Millisecond
)

// checkUser refuses root, as PostgreSQL does: files that root has made are
// closed to the server. And it refuses everybody but the owner, who alone can
// write what the server will read.
func checkUser(euid int, pgdata string) error {
	if euid == 0 {
		return &Error{Op: "check user", Err: ErrRoot, Advice: "run it as the owner of the data directory, usually: sudo -u postgres failback-hook"}
	}
	fi, err := os.Stat(pgdata)
	if err != nil {
		return &Error{Op: "check data directory", Err: fmt.Errorf("%w: %w", rewind.ErrNotDataDir, err), Advice: "check postgresql.data_dir"}
	}
	// Before the owner: what is no data directory at all is a wrong path.
	_, err = os.Stat(filepath.Join(pgdata, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return notDataDir(pgdata, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != euid {
		return &Error{Op: "check user", Err: fmt.Errorf("%w: %s, and this program runs as %s", ErrNotOwner, userName(int(st.Uid)), userName(euid)),
			Advice: "run it as the owner of the data directory, usually: sudo -u postgres failback-hook"}
	}
	return nil
}

// userName is a user as people know it, as far as this host does.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", uid)
}

func notDataDir(pgdata string, err error) error {
	return &rewind.Error{Op: "read data directory", Path: "PG_VERSION", Err: fmt.Errorf("%w: %w", rewind.ErrNotDataDir, err),
		Advice: "check postgresql.data_dir: " + pgdata + " holds no PostgreSQL cluster"}
}

// ReadLocal looks at the data directory and at the server on it, and changes
// neither. Errors are rewind.ErrNotDataDir, rewind.ErrUnsupported,
// rewind.ErrDamaged, rewind.ErrJournal, or those of the file system.
func ReadLocal(ctx context.Context, pgdata string) (Local, error) {
	var l Local
	major, err := readMajor(pgdata)
	if err != nil {
		return l, err
	}
	l.Major = major
	// Before the control file: a server that ends between the two leaves a
	// newer file than was asked for, and never one that is being written.
	if l.PID, err = postmaster.Find(pgdata); err != nil {
		return l, err
	}
	l.Running = l.PID != 0
	if l.Running {
		// Without it only what rests on it is not known.
		b, _ := readBounded(filepath.Join(pgdata, "postmaster.pid"), postmaster.MaxPIDFile)
		l.PIDFile = string(b)
	}
	if l.StandbySignal, err = hasSignalFile(pgdata); err != nil {
		return l, err
	}
	control, interrupted, err := readControl(ctx, pgdata)
	if err != nil {
		return l, err
	}
	l.Interrupted = interrupted
	l.SystemID = control.SystemIdentifier
	l.State = control.State.String()
	// As for the engine: right after a promotion only the minimum recovery
	// point is on the new timeline.
	l.Timeline = max(control.CheckPointCopy.ThisTimeLineID, control.MinRecoveryPointTLI)
	if m := control.Major(); m != major {
		return l, &rewind.Error{Op: "read data directory", Path: "PG_VERSION",
			Err: fmt.Errorf("%w: it says %d, and the control file is of %d", rewind.ErrDamaged, major, m)}
	}
	return l, nil
}

func readMajor(pgdata string) (pg.Major, error) {
	b, err := readBounded(filepath.Join(pgdata, "PG_VERSION"), 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, notDataDir(pgdata, err)
	}
	if err != nil {
		return 0, &rewind.Error{Op: "read data directory", Path: "PG_VERSION", Err: err}
	}
	major, err := pg.ParseVersionFile(b)
	if err != nil {
		return 0, &rewind.Error{Op: "read data directory", Path: "PG_VERSION", Err: errors.Join(rewind.ErrUnsupported, err)}
	}
	return major, nil
}

// readBounded reads a file that cannot sensibly be longer than limit.
func readBounded(name string, limit int64) ([]byte, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than the %d such a file can have", rewind.ErrDamaged, filepath.Base(name), fi.Size(), limit)
	}
	return os.ReadFile(name)
}

func hasSignalFile(pgdata string) (bool, error) {
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		_, err := os.Lstat(filepath.Join(pgdata, name))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for %s: %w", name, err)
		}
	}
	return false, nil
}

// readControl reads the control file, or the one that the journal of an
// interrupted rewind keeps.
func readControl(ctx context.Context, pgdata string) (c *pgcontrol.Control, interrupted bool, err error) {
	for try := 1; ; try++ {
		b, err := readBounded(filepath.Join(pgdata, controlFile), pgcontrol.FileSize)
		if errors.Is(err, fs.ErrNotExist) {
			c, err := readInterrupted(pgdata)
			return c, err == nil, err
		}
		if err != nil {
			return nil, false, &rewind.Error{Op: "read control file", Path: controlFile, Err: err}
		}
		c, err := pgcontrol.Parse(b)
		switch {
		case err == nil:
			return c, false, nil
		case errors.Is(err, pgcontrol.ErrVersion):
			return nil, false, &rewind.Error{Op: "read control file", Path: controlFile, Err: errors.Join(rewind.ErrUnsupported, err)}
		case try == controlTries:
			return nil, false, &rewind.Error{Op: "read control file", Path: controlFile, Err: errors.Join(rewind.ErrDamaged, err)}
		}
		if err := sleep(ctx, controlPause); err != nil {
			return nil, false, err
		}
	}
}

func readInterrupted(pgdata string) (*pgcontrol.Control, error) {
	c, ok, err := rewind.ReadInterrupted(pgdata)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &rewind.Error{Op: "read control file", Path: controlFile, Err: errors.Join(rewind.ErrNotDataDir, fs.ErrNotExist),
			Advice: "there is no journal of an interrupted rewind either: this directory can only be replaced by a new copy of the leader"}
	}
	return c, nil
}

// sleep waits, but not longer than ctx lives; then it returns the cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
