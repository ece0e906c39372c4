package rewind

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// exclusive keeps every other engine on this host away from the directory until
// release is called, or this process is gone. The lock is on PGDATA itself, so
// that it leaves no file, and goes with no copy. etcd's lock is not enough: the
// door that speaks pg_rewind's command line takes none, and one that is lost
// does not stop the process that had it.
func exclusive(dir string) (release func() error, err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &Error{Op: "open data directory", Path: dir, Err: errors.Join(ErrNotDataDir, err)}
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return func() error { return unix.Close(fd) }, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrBusy
	}
	return nil, errors.Join(&Error{Op: "lock data directory", Path: dir, Err: err, Advice: "wait until the other run has ended, then run it again"}, closeFD(fd))
}

// openExclusively opens the target and keeps every other engine away until
// release is called.
func (e *Engine) openExclusively() (t *target, release func() error, err error) {
	unlock, err := exclusive(e.PGData)
	if err != nil {
		return nil, nil, err
	}
	if t, err = e.open(); err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	return t, func() error { return errors.Join(t.close(), unlock()) }, nil
}

func closeFD(fd int) error {
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close data directory: %w", err)
	}
	return nil
}
