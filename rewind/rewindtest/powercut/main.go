package powercut

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// Environment of the tests: where the root side listens, or why there is none.
const (
	socketEnv = "FAILBACK_TEST_POWERCUT"
	whyEnv    = "FAILBACK_TEST_NO_POWERCUT"
	// ownMountsEnv is set in the process that has left its parent's mounts.
	ownMountsEnv = "FAILBACK_TEST_OWN_MOUNTS"
)

// Main is rewindtest.Main with a machine beside it, where the tests are started as root.
func Main(m *testing.M) int {
	if os.Geteuid() != 0 || os.Getenv(socketEnv) != "" {
		return rewindtest.Main(m)
	}
	end, err := start()
	if err != nil {
		if err := os.Setenv(whyEnv, err.Error()); err != nil {
			fmt.Fprintln(os.Stderr, "powercut:", err)
			return 2
		}
		return rewindtest.Main(m)
	}
	code := rewindtest.Main(m)
	if err := end(); err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		return max(code, 1)
	}
	return code
}

// start starts the root side.
func start() (end func() error, err error) {
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(device); err != nil {
			return nil, err
		}
	}
	if err := leaveMounts(); err != nil {
		return nil, fmt.Errorf("make a mount namespace: %w", err)
	}
	uid, gid, err := testUser()
	if err != nil {
		return nil, err
	}
	root, err := newRoot(uid, gid)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(root.dir))
		}
	}()
	if err := root.selfTest(); err != nil {
		return nil, err
	}
	socket := filepath.Join(root.dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(socket, 0o777), os.Setenv(socketEnv, socket)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go root.accept(l)
	return func() error {
		err := l.Close()
		root.open.Wait()
		return errors.Join(err, os.RemoveAll(root.dir))
	}, nil
}

// root makes machines.
type root struct {
	dir      string
	uid, gid int
	open     sync.WaitGroup
}

// newRoot makes the directory for images: in memory where there is room for it.
func newRoot(uid, gid int) (*root, error) {
	parent := os.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err == nil && st.Bavail*uint64(st.Bsize) > 3<<30 {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "powercut-")
	if err != nil {
		return nil, err
	}
	return &root{dir: dir, uid: uid, gid: gid}, os.Chmod(dir, 0o755)
}

// accept gives everybody who comes a machine, until the listener is closed.
func (r *root) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r.open.Go(func() {
			if err := r.serve(c); err != nil {
				fmt.Fprintln(os.Stderr, "powercut:", err)
			}
		})
	}
}

// serve is one machine, for as long as its test is connected.
func (r *root) serve(c net.Conn) error {
	s, err := r.newServer()
	if err != nil {
		return errors.Join(err, c.Close())
	}
	calls := rpc.NewServer()
	shown := &Server{s: s}
	if err := calls.RegisterName("Server", shown); err != nil {
		return errors.Join(err, s.end())
	}
	calls.ServeConn(c) // until it is closed
	shown.mu.Lock()
	defer shown.mu.Unlock()
	return s.end()
}

// selfTest finds out whether disks can be made, recorded and mounted here.
func (r *root) selfTest() (err error) {
	s, err := r.newServer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	var i Image
	var dir string
	if err := s.Format(FormatArgs{FS: Ext4, MB: 16}, &i); err != nil {
		return err
	}
	return s.Mount(MountArgs{Image: i, FS: Ext4, Record: true}, &dir)
}

// leaveMounts runs this program once more in the same process, with mounts of its own.
func leaveMounts() error {
	if os.Getenv(ownMountsEnv) != "" {
		return nil
	}
	runtime.LockOSThread() // a namespace is a thread's, until the program is run anew
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), ownMountsEnv+"=1"))
}

// testUser is whom rewindtest.Main runs the tests as.
func testUser() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, err
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// Server is the root side as the socket sees it: one call after the other.
type Server struct {
	mu sync.Mutex
	s  *server
}

func guarded[A, R any](s *Server, call func(A, R) error, a A, r R) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return call(a, r)
}

// Format is Machine.Format, and so on.
func (s *Server) Format(a FormatArgs, r *Image) error { return guarded(s, s.s.Format, a, r) }

// Mount is Machine.Mount and Record.
func (s *Server) Mount(a MountArgs, r *string) error { return guarded(s, s.s.Mount, a, r) }

// Unmount is Machine.Unmount.
func (s *Server) Unmount(a int, r *int) error { return guarded(s, s.s.Unmount, a, r) }

// Now is Machine.Now.
func (s *Server) Now(a int, r *int) error { return guarded(s, s.s.Now, a, r) }

// Flushes is Machine.Flushes.
func (s *Server) Flushes(a int, r *[]int) error { return guarded(s, s.s.Flushes, a, r) }

// Cut is Machine.Cut.
func (s *Server) Cut(a Moment, r *Image) error { return guarded(s, s.s.Cut, a, r) }

// Copy is Machine.Copy.
func (s *Server) Copy(a Image, r *Image) error { return guarded(s, s.s.Copy, a, r) }

// Drop is Machine.Drop.
func (s *Server) Drop(a Image, r *int) error { return guarded(s, s.s.Drop, a, r) }
