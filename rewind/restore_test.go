package rewind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

func TestExpandRestoreCommand(t *testing.T) {
	got := expandRestoreCommand("cp /a/%f %p; date +%%s 100% %x; clean %r %", "F", "/to/F")
	if want := "cp /a/F /to/F; date +%s 100% %x; clean 000000000000000000000000 %"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func listNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestArchive(t *testing.T) {
	store := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	for _, name := range []string{"there", "other"} {
		if err := os.WriteFile(filepath.Join(store, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := &archive{command: "cp '" + store + "/%f' '%p' 2>/dev/null && echo x >>'" + store + "/calls'"}
	for range 2 {
		f, err := a.open(t.Context(), "there")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil || string(b) != "there" {
			t.Errorf("got %q, %v", b, err)
		}
	}
	if calls, err := os.ReadFile(filepath.Join(store, "calls")); string(calls) != "x\n" {
		t.Errorf("calls of the command: %q, %v; want one", calls, err)
	}
	if _, err := a.open(t.Context(), "missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v, want fs.ErrNotExist", err)
	}
	// Of large segments only two are kept at a time.
	const size = maxRestored/2 + 1
	for _, name := range []string{"1", "2", "3"} {
		large := filepath.Join(store, name)
		if err := errors.Join(os.WriteFile(large, nil, 0o600), os.Truncate(large, size)); err != nil {
			t.Fatal(err)
		}
		f, err := a.open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if names := listNames(t, a.dir); !slices.Equal(names, []string{"2", "3"}) || a.size != 2*size {
		t.Errorf("kept are %q of %d bytes; want 2 and 3", names, a.size)
	}
	dir := a.dir
	if err := a.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory after close: %v", err)
	}
}

// TestArchiveStatus: up to 125 the archive has no such file; above, and by a
// signal, the command is broken and the run must end.
func TestArchiveStatus(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for command, missing := range map[string]bool{
		"exit 1": true, "exit 125": true, "true": true, "exit 126": false, "exit 255": false, "no-such-program-xyz": false, "kill -9 $$": false,
		"echo secret-free words; exit 130": false,
	} {
		a := &archive{command: command}
		_, err := a.open(t.Context(), "f")
		if err == nil || errors.Is(err, fs.ErrNotExist) != missing {
			t.Errorf("%q: got %v, taken for missing: %v, want %v", command, err, !missing, missing)
		}
		if strings.HasPrefix(command, "echo") && !strings.Contains(err.Error(), "words") {
			t.Errorf("%q: its output is not in %v", command, err)
		}
		if err := a.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestArchiveEnds: a command that hangs ends with the context, and what it has
// started ends with it. It runs in the data directory, as the server's does.
func TestArchiveEnds(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	a := &archive{command: "sleep 600 & echo $! >pid; wait", pgdata: dir}
	defer a.close()
	done := make(chan error)
	go func() {
		_, err := a.open(ctx, "f")
		done <- err
	}()
	var pid int
	for pid == 0 { // until the command is there
		b, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	cancel(errors.New("enough"))
	if err := <-done; err == nil || err.Error() != "enough" {
		t.Errorf("got %v", err)
	}
	for state := "R"; state != "" && state != "Z"; { // killed, and waits for init
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(b), ") ")
		state, _, _ = strings.Cut(rest, " ")
	}
}

func TestArchiveEndedContext(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	a := &archive{command: "exit 1"}
	defer a.close()
	if _, err := a.open(ctx, "f"); err == nil || err.Error() != "enough" {
		t.Errorf("ended context: got %v", err)
	}
}

// TestCheckpointEnd counts the page header in where the record goes over a page.
func TestCheckpointEnd(t *testing.T) {
	for at, want := range map[pg.LSN]pg.LSN{
		0x3000028: 0x3000028 + 120,
		0x3001F88: 0x3002000,
		0x3001F90: 0x3002008 + 24,
		0x3FFFFF8: 0x4000000 + 40 + 112,
	} {
		c := &pgcontrol.Control{CheckPoint: at, WALBlockSize: 8192, WALSegSize: 16 << 20}
		if got := checkpointEnd(c); got != want {
			t.Errorf("record at %s: got its end at %s, want %s", at, got, want)
		}
	}
}
