package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/postmaster"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// nodeConfig is what a test node's server is controlled with.
func nodeConfig(n *rewindtest.Node) Config {
	return Config{Name: n.Name, PGData: n.Dir, BinDir: n.Install.Bin, StopTimeout: 20 * time.Second, StartTimeout: 20 * time.Second}.withDefaults()
}

func TestControlPGCtl(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		ctx := t.Context()
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
		s, err := newServer(ctx, nodeConfig(n), pg.Major(install.Major))
		must(t, err)

		l, err := ReadLocal(ctx, n.Dir)
		must(t, err)
		if !l.Running || l.PID != n.PID() || l.State != "in production" || l.StandbySignal || l.Interrupted {
			t.Fatalf("of a running primary: got %+v", l)
		}
		must(t, s.start(ctx)) // it runs: nothing to do
		must(t, s.stop(ctx))
		l, err = ReadLocal(ctx, n.Dir)
		must(t, err)
		if l.Running || l.State != "shut down" {
			t.Fatalf("after stop: got %+v", l)
		}
		must(t, s.stop(ctx)) // it is down: nothing to do

		must(t, s.start(ctx))
		if got := n.Must(t).Value("SELECT 1"); got != "1" {
			t.Errorf("the server answers %q", got)
		}
		must(t, s.stop(ctx))

		// A crash. The harness starts the server, because it reaps its children:
		// to PostgreSQL, though not to us, a zombie is a postmaster like another.
		must(t, n.Start())
		must(t, n.Kill())
		if _, err := os.Stat(filepath.Join(n.Dir, "postmaster.pid")); err != nil {
			t.Fatal(err)
		}
		l, err = ReadLocal(ctx, n.Dir)
		must(t, err)
		if l.Running || l.State != "in production" {
			t.Errorf("after a kill: got %+v", l)
		}
		must(t, s.stop(ctx))
		must(t, s.start(ctx))
		must(t, s.stop(ctx))
	})
}

// A client that does not let go of its transaction does not hold up a fast
// stop; a postmaster that has been stopped by a signal does.
func TestStopFallsBackToImmediate(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	cfg := nodeConfig(n)
	cfg.StopTimeout = time.Second
	s, err := newServer(t.Context(), cfg, pg.Major(n.Install.Major))
	must(t, err)
	// A fast stop waits for the checkpointer, which writes the last checkpoint.
	checkpointer := backend(t, n, "checkpointer")
	must(t, exec.Command("/bin/kill", "-STOP", fmt.Sprint(checkpointer)).Run())
	must(t, s.stop(t.Context()))
	l, err := ReadLocal(t.Context(), n.Dir)
	must(t, err)
	if l.Running || l.State != "in production" {
		t.Errorf("got %+v, want a server that was stopped without a checkpoint", l)
	}
}

func backend(t *testing.T, n *rewindtest.Node, kind string) (pid int) {
	t.Helper()
	v := n.Must(t).Value("SELECT pid FROM pg_stat_activity WHERE backend_type = '" + kind + "'")
	pid, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("pid of the %s: %v", kind, err)
	}
	return pid
}

func TestStartFailureTellsWhy(t *testing.T) {
	install := rewindtest.Newest(t)
	for _, collector := range []string{"on", "off"} {
		t.Run("logging_collector "+collector, func(t *testing.T) {
			n := rewindtest.NewPrimary(t, install, rewindtest.Options{Conf: map[string]string{"logging_collector": collector}, LogInside: true})
			s, err := newServer(t.Context(), nodeConfig(n), pg.Major(install.Major))
			must(t, err)
			must(t, s.stop(t.Context()))
			must(t, os.RemoveAll(filepath.Join(n.Dir, "pg_wal")))
			must(t, os.Mkdir(filepath.Join(n.Dir, "pg_wal"), 0o700))
			err = s.start(t.Context())
			if !errors.Is(err, ErrServerControl) || !strings.Contains(err.Error(), "could not locate a valid checkpoint record") {
				t.Errorf("got %v, want the server's own words", err)
			}
		})
	}
}

// Debian keeps postgresql.conf elsewhere, and paths may hold anything.
func TestStartWithConfigFile(t *testing.T) {
	install := rewindtest.Newest(t)
	n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
	must(t, n.Stop(rewindtest.Fast))
	etc := filepath.Join(filepath.Dir(n.Dir), "it's $HOME")
	must(t, os.Mkdir(etc, 0o700))
	cfg := nodeConfig(n)
	cfg.ConfigFile = filepath.Join(etc, "postgresql.conf")
	must(t, os.Rename(filepath.Join(n.Dir, "postgresql.conf"), cfg.ConfigFile))
	s, err := newServer(t.Context(), cfg, pg.Major(install.Major))
	must(t, err)
	must(t, s.start(t.Context()))
	if got := n.Must(t).Value("SHOW config_file"); got != cfg.ConfigFile {
		t.Errorf("config_file is %q, want %q", got, cfg.ConfigFile)
	}
	must(t, s.stop(t.Context()))
}

func TestFindPGCtl(t *testing.T) {
	install := rewindtest.Newest(t)
	major := pg.Major(install.Major)
	t.Setenv("PATH", install.Bin+":"+os.Getenv("PATH")) // it may be installed anywhere
	path, err := findPGCtl(t.Context(), "", major)
	if err != nil || filepath.Base(path) != "pg_ctl" {
		t.Errorf("looked up: got %q, %v", path, err)
	}
	if path, err := findPGCtl(t.Context(), install.Bin, major); err != nil || path != install.Path("pg_ctl") {
		t.Errorf("given: got %q, %v", path, err)
	}
	for name, tt := range map[string]struct {
		bin   string
		major pg.Major
	}{
		"another version":   {install.Bin, major + 1},
		"no such directory": {"/nowhere", major},
		"not to be found":   {"", 99},
	} {
		_, err := findPGCtl(t.Context(), tt.bin, tt.major)
		if !errors.Is(err, ErrConfig) || !slices.Equal(fieldKeys(err), []string{"postgresql.bin_dir"}) {
			t.Errorf("%s: got %v, want an error for postgresql.bin_dir", name, err)
		}
	}
}

// commandServer is one that is controlled by commands which start and stop a
// process that looks like a postmaster.
func commandServer(t *testing.T) *server {
	t.Helper()
	dir, program := newDataDir(t), fakePostgres(t)
	cfg := Config{
		Name: "n1", PGData: dir, Control: ControlCommand, StopTimeout: 5 * time.Second, StartTimeout: 5 * time.Second,
		StartCommand: fmt.Sprintf(`cd %s && { %s & printf '%%s\n%%s\n' $! "$PGDATA" >postmaster.pid; }`, shellQuote(dir), shellQuote(program)),
		StopCommand:  fmt.Sprintf(`kill -9 $(head -n 1 %s/postmaster.pid) && rm %s/postmaster.pid`, shellQuote(dir), shellQuote(dir)),
	}
	s, err := newServer(t.Context(), cfg.withDefaults(), 15)
	must(t, err)
	t.Cleanup(func() {
		if pid, _ := postmaster.Find(dir); pid != 0 {
			_ = exec.Command("/bin/kill", "-9", fmt.Sprint(pid)).Run()
		}
	})
	return s
}

func TestControlCommand(t *testing.T) {
	s := commandServer(t)
	must(t, s.start(t.Context()))
	pid, err := postmaster.Find(s.cfg.PGData)
	must(t, err)
	if pid == 0 {
		t.Fatal("nothing runs after start")
	}
	must(t, s.stop(t.Context()))
	if pid, _ = postmaster.Find(s.cfg.PGData); pid != 0 {
		t.Errorf("%d runs after stop", pid)
	}

	s.cfg.StartCommand = "echo no such unit; exit 5"
	err = s.start(t.Context())
	if !errors.Is(err, ErrServerControl) || !strings.Contains(err.Error(), "exit status 5") || !strings.Contains(err.Error(), "no such unit") {
		t.Errorf("start command that fails: got %v", err)
	}
}

func TestStopCommandThatLies(t *testing.T) {
	s := commandServer(t)
	must(t, s.start(t.Context()))
	for command, want := range map[string]error{"exit 3": ErrServerControl, "sleep 60": ErrServerControl} {
		s.cfg.StopCommand, s.cfg.StopTimeout = command, 200*time.Millisecond
		if err := s.stop(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", command, err, want)
		}
	}
	// One that says it has done so and has not.
	s.cfg.StopCommand = "true"
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errTest)
	defer cancel()
	if err := s.stop(ctx); !errors.Is(err, errTest) {
		t.Errorf("got %v, want to be waiting for the server to end", err)
	}
}

func TestControlNone(t *testing.T) {
	s := commandServer(t)
	must(t, s.start(t.Context()))
	s.cfg.Control = ControlNone
	if err := s.stop(t.Context()); !errors.Is(err, ErrServerRunning) {
		t.Errorf("got %v, want %v", err, ErrServerRunning)
	}
	if pid, _ := postmaster.Find(s.cfg.PGData); pid == 0 {
		t.Error("the server was stopped")
	}
}

// Backends that outlive their postmaster still write.
func TestStopWaitsForOrphans(t *testing.T) {
	s := commandServer(t)
	orphan := startIn(t, s.cfg.PGData, fakePostgres(t))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errTest)
	defer cancel()
	if err := s.stop(ctx); !errors.Is(err, errTest) {
		t.Fatalf("with a backend at work: got %v, want to be waiting", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = orphan.Process.Kill() })
	must(t, s.stop(t.Context()))
}

func TestServerEnviron(t *testing.T) {
	got := serverEnviron([]string{"PATH=/bin", "PGPORT=1", "PGPASSWORD=x", "PGDATA=/x", "PG_OOM_ADJUST_VALUE=0", "ETCDCTL_PASSWORD=x", "FAILBACK_HOOK_NAME=n", "LANG=C"})
	if want := []string{"PATH=/bin", "PG_OOM_ADJUST_VALUE=0", "LANG=C"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTrouble(t *testing.T) {
	lines := []string{
		"2026 LOG:  database system is ready", "2026 FATAL:  could not connect: password authentication failed",
		"2026 STATEMENT:  ALTER USER x PASSWORD 'hunter2'", "", "2026 HINT:  look",
	}
	if got, want := trouble(lines), []string{lines[1], lines[4]}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	translated := []string{"a", "b", "SCHWERWIEGEND:  c", "d STATEMENT:  secret", "e"}
	if got, want := trouble(translated), []string{"b", "SCHWERWIEGEND:  c", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := trouble(nil); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
