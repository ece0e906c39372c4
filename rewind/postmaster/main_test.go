package postmaster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestMain plays the server in copies of this binary that are named postgres.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "postgres" {
		time.Sleep(time.Hour) // until it is killed
	}
	os.Exit(m.Run())
}

func newDataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.Mkdir(dir, 0o700))
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(content), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakePostgres makes a program of that name; where it is run, a server seems to be.
func fakePostgres(t *testing.T) (program string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	dir, err := os.MkdirTemp(filepath.Dir(self), "fake-") // a link cannot leave the file system
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program = filepath.Join(dir, "postgres")
	if os.Link(self, program) != nil {
		image, err := os.ReadFile(self)
		must(t, err)
		must(t, os.WriteFile(program, image, 0o700))
	}
	return program
}

// startIn starts a program in a directory and ends it with the test.
func startIn(t *testing.T, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	must(t, cmd.Start())
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait() // the second time it only says so
}

// pidFileText is a postmaster.pid.
func pidFileText(pid int, dir string, started time.Time) string {
	return strconv.Itoa(pid) + "\n" + dir + "\n" + strconv.FormatInt(started.Unix(), 10) + "\n5432\n/tmp\nlocalhost\n  1234567  0\nready   \n"
}
