package rewind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

// Environment of the process that has a small file system of its own.
const (
	smallDiskEnv   = "FAILBACK_TEST_SMALL_DISK"
	smallSourceEnv = "FAILBACK_TEST_SOURCE"
	smallPGDataEnv = "FAILBACK_TEST_PGDATA"
)

// TestDiskFull fills the disk at one step of the work after the other: the rewind
// fails, and is taken back on the disk that is still full. It works on a real
// file system, which needs a user namespace to be mounted.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := newInterrupted(t, rewindtest.Newest(t))
	disk := t.TempDir()
	script := `mount -t tmpfs -o size=192m none "$1" && shift && exec "$@"`
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh", disk,
		os.Args[0], "-test.run=^TestOnSmallDisk$", "-test.v", fmt.Sprintf("-crash=%v", *everyStep))
	cmd.Env = append(os.Environ(), smallDiskEnv+"="+disk, smallSourceEnv+"="+s.leader.Conninfo(), smallPGDataEnv+"="+s.old.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "unshare") && os.Getenv("FAILBACK_REQUIRE_PG") == "" {
		t.Skipf("no file system can be mounted here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "taken back on a full disk") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestOnSmallDisk is what TestDiskFull runs in a process of its own.
func TestOnSmallDisk(t *testing.T) {
	disk := os.Getenv(smallDiskEnv)
	if disk == "" {
		t.Skip("run by TestDiskFull")
	}
	d := &smallDisk{disk: disk, origin: os.Getenv(smallPGDataEnv), conninfo: os.Getenv(smallSourceEnv)}
	steps := d.steps(t)
	var seen []string
	for i, step := range steps {
		op, _, _ := strings.Cut(step, " ")
		many := slices.DeleteFunc(slices.Clone(seen), func(o string) bool { return o != op })
		if seen = append(seen, op); len(many) > 0 && i%60 != 0 && !*everyStep {
			continue
		}
		d.fillAt(t, i, step)
	}
	t.Logf("%d of %d taken back on a full disk", d.undone, len(steps))
	if d.undone < 5 {
		t.Errorf("only %d of %d steps failed for want of space", d.undone, len(steps))
	}
}

// smallDisk is a file system on which a directory is rewound again and again.
type smallDisk struct {
	disk, origin, conninfo string
	undone                 int
}

func (d *smallDisk) pgdata() string { return filepath.Join(d.disk, "data") }

// fresh puts the directory there as it was, and makes an engine.
func (d *smallDisk) fresh(t *testing.T) *rewind.Engine {
	t.Helper()
	for _, p := range []string{d.pgdata(), d.filler()} {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := rewindtest.CopyDir(d.origin, d.pgdata()); err != nil {
		t.Fatal(err)
	}
	src, err := source.OpenSQL(context.Background(), source.SQLConfig{Conninfo: d.conninfo, Connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return &rewind.Engine{PGData: d.pgdata(), Source: src, Options: rewind.Options{
		Workers: 1, Standby: &rewind.Standby{Conninfo: d.conninfo}}}
}

// steps are those from the latch on until pg_control is back.
func (d *smallDisk) steps(t *testing.T) []string {
	t.Helper()
	e := d.fresh(t)
	steps := noteSteps(e)
	run(t, e)
	return (*steps)[:slices.Index(*steps, "publish global/pg_control")]
}

func (d *smallDisk) filler() string { return filepath.Join(d.disk, "filler") }

// fill takes up the last block.
func (d *smallDisk) fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// fillAt rewinds with a disk that is full from one step on.
func (d *smallDisk) fillAt(t *testing.T, at int, step string) {
	t.Helper()
	e := d.fresh(t)
	was := rememberTree(t, d.pgdata())
	made := 0
	e.BeforeWrite(func(string, string) error {
		made++
		if made > at {
			return d.fill()
		}
		return nil
	})
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Apply(context.Background(), p)
	switch {
	case err == nil: // what followed needed no more room
		return
	case !errors.Is(err, rewind.ErrNoSpace):
		t.Errorf("full from step %d (%s) on: %v", at, step, err)
		return
	}
	e.BeforeWrite(func(string, string) error { return nil })
	switch _, err := e.Undo(context.Background()); {
	case errors.Is(err, rewind.ErrNoUndo): // not latched yet
		d.undone--
	case err != nil:
		t.Errorf("full from step %d (%s) on: undo: %v", at, step, err)
		return
	}
	d.undone++
	if was.same(t); t.Failed() {
		t.Fatalf("full from step %d (%s) on", at, step)
	}
}
