package postmaster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestParsePIDFile(t *testing.T) {
	at := time.Unix(1795254125, 0)
	tests := []struct {
		name, text string
		want       pidFile
		ok         bool
	}{
		{"whole", pidFileText(4711, "/data", at), pidFile{4711, at}, true},
		{"single-user server", pidFileText(-4711, "/data", at), pidFile{4711, at}, true},
		{"only the first line", "4711\n", pidFile{pid: 4711}, true},
		{"time is missing", "4711\n/data\n", pidFile{pid: 4711}, true},
		{"time is odd", "4711\n/data\nnoon\n", pidFile{pid: 4711}, true},
		{"empty", "", pidFile{}, false},
		{"zero", "0\n/data\n1\n", pidFile{}, false},
		{"words", "nonsense\n", pidFile{}, false},
		{"too large", "99999999999999999999\n", pidFile{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parsePIDFile(tt.text)
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %+v, %v, want %+v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestPostmaster(t *testing.T) {
	program := fakePostgres(t)
	now := time.Now()
	tests := []struct {
		name  string
		setup func(t *testing.T, dir string) (want int)
	}{
		{"no pid file, no process", func(*testing.T, string) int { return 0 }},
		{"alive", func(t *testing.T, dir string) int {
			pid := startIn(t, dir, program).Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, dir, now))
			return pid
		}},
		{"alive, by another name of the directory", func(t *testing.T, dir string) int {
			other := filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink(dir, other))
			pid := startIn(t, other, program).Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, other, now))
			return pid
		}},
		{"alive, the clock was set since", func(t *testing.T, dir string) int {
			pid := startIn(t, dir, program).Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, dir, now.Add(-24*time.Hour)))
			return pid
		}},
		{"alive as a single-user server", func(t *testing.T, dir string) int {
			pid := startIn(t, dir, program).Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(-pid, dir, now))
			return pid
		}},
		{"dead", func(t *testing.T, dir string) int {
			cmd := startIn(t, dir, program)
			end(cmd)
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(cmd.Process.Pid, dir, now))
			return 0
		}},
		{"zombie", func(t *testing.T, dir string) int {
			cmd := startIn(t, dir, program)
			must(t, cmd.Process.Kill())
			awaitZombie(t, cmd)
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(cmd.Process.Pid, dir, now))
			return 0
		}},
		{"number taken over by another program", func(t *testing.T, dir string) int {
			pid := startIn(t, "/", "/bin/sleep", "60").Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, dir, now))
			return 0
		}},
		{"number taken over by a shell in the directory", func(t *testing.T, dir string) int {
			pid := startIn(t, dir, "/bin/sleep", "60").Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, dir, now))
			return 0
		}},
		{"number taken over by the server of another directory", func(t *testing.T, dir string) int {
			pid := startIn(t, t.TempDir(), program).Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, dir, now.Add(-time.Hour)))
			return 0
		}},
		{"pid file copied with the directory of a running server", func(t *testing.T, dir string) int {
			other := t.TempDir()
			pid := startIn(t, other, program).Process.Pid
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(pid, other, now))
			return 0
		}},
		{"our own number", func(t *testing.T, dir string) int {
			write(t, filepath.Join(dir, "postmaster.pid"), pidFileText(os.Getpid(), dir, now))
			return 0
		}},
		{"pid file is nonsense", func(t *testing.T, dir string) int {
			write(t, filepath.Join(dir, "postmaster.pid"), "nonsense")
			return 0
		}},
		{"pid file is a gigabyte", func(t *testing.T, dir string) int {
			name := filepath.Join(dir, "postmaster.pid")
			write(t, name, "1\n")
			must(t, os.Truncate(name, 1<<30))
			return 0
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := newDataDir(t)
			want := tt.setup(t, dir)
			got, err := Find(dir)
			if err != nil || got != want {
				t.Errorf("got %d, %v, want %d", got, err, want)
			}
		})
	}
}

func awaitZombie(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		must(t, err)
		if _, alive := parseStat(cmd.Process.Pid, b); !alive {
			return
		}
	}
	t.Fatal("the killed process did not become a zombie")
}

func TestStartedAt(t *testing.T) {
	p, ok := findProcess(os.Getpid())
	if !ok {
		t.Fatal("this process is not found")
	}
	cmd := startIn(t, "/", "/bin/sleep", "60")
	child, ok := findProcess(cmd.Process.Pid)
	if !ok {
		t.Fatal("the child is not found")
	}
	if child.parent != p.pid {
		t.Errorf("the child's parent is %d, want %d", child.parent, p.pid)
	}
	for _, tt := range []struct {
		at   time.Time
		want bool
	}{
		{time.Now(), true},
		{time.Now().Add(-time.Minute), false},
		{time.Now().Add(time.Minute), false},
	} {
		if got := child.startedAt(tt.at, pidFileSlack); got != tt.want {
			t.Errorf("started at %s: got %v, want %v", tt.at, got, tt.want)
		}
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 1 2 2 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8423 95948800 3413\n"
	tests := []struct {
		name, stat string
		ok         bool
	}{
		{"sleeping", "77 (x) S" + rest, true},
		{"a name like an end", "77 (a) Z) b) S" + rest, true},
		{"zombie", "77 (x) Z" + rest, false},
		{"dead", "77 (x) X" + rest, false},
		{"cut off", "77 (x) S 1 2", false},
		{"no name", "77", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, ok := parseStat(1<<30, []byte(tt.stat))
			if ok != tt.ok {
				t.Fatalf("got %v, want %v", ok, tt.ok)
			}
			if ok && (p.parent != 1 || p.ticks != 8423) {
				t.Errorf("got parent %d, ticks %d, want 1, 8423", p.parent, p.ticks)
			}
		})
	}
}
