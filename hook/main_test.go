package hook

import (
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestMain: a link to this binary that is called postgres is a process that
// looks like a server's and only sleeps. Everything else are the tests, which
// must not be run as root.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "postgres" {
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(rewindtest.Main(m))
}

// The control file of a cluster that initdb of PostgreSQL 15 has made.
//
//go:embed testdata/pg_control-15
var controlImage []byte

// errTest is a failure that only a test makes.
var errTest = errors.New("made by the test")

// fixtureID is the system identifier in it, as pg_controldata prints it.
const fixtureID pg.SystemID = 7710562907976889804

// newDataDir makes what of a data directory this package looks at.
func newDataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.MkdirAll(filepath.Join(dir, "global"), 0o700))
	write(t, filepath.Join(dir, "PG_VERSION"), "15\n")
	write(t, filepath.Join(dir, controlFile), string(controlImage))
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
