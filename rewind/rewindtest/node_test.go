package rewindtest_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func TestMain(m *testing.M) { os.Exit(rewindtest.Main(m)) }

func TestMainDropsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Fatal("tests run as root")
	}
	for _, dir := range []string{os.TempDir(), os.Getenv("HOME")} {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		os.Remove(f.Name())
	}
}

func TestNodeLife(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		primary := rewindtest.NewPrimary(t, pg, rewindtest.Options{})
		p := primary.Must(t)
		p.Exec("CREATE TABLE t (i int)", "INSERT INTO t SELECT generate_series(1, 100)")
		standby := primary.Standby(t, "standby")
		s := standby.Must(t)
		s.WaitForCatchup(primary)
		if got := s.Value("SELECT count(*) FROM t"); got != "100" {
			t.Errorf("standby has %s rows, want 100", got)
		}

		p.Kill()
		if primary.Running() {
			t.Error("killed node is running")
		}
		if _, err := os.Stat(filepath.Join(primary.Dir, "postmaster.pid")); err != nil {
			t.Errorf("kill should leave postmaster.pid: %v", err)
		}
		s.Promote()
		if got := s.Value("SELECT pg_is_in_recovery()"); got != "f" {
			t.Errorf("after promotion in recovery = %s", got)
		}
		tli, err := standby.Timeline()
		if err != nil || tli != 2 {
			t.Errorf("timeline after promotion = %d, %v; want 2", tli, err)
		}
		p.Start()
		if got := p.Value("SELECT count(*) FROM t"); got != "100" {
			t.Errorf("after kill and start %s rows, want 100", got)
		}
		p.Stop(rewindtest.Fast)
		p.Stop(rewindtest.Fast) // not running is no error
		if primary.PID() != 0 {
			t.Error("stopped node has a pid")
		}
	})
}

func TestStartTellsWhyItFailed(t *testing.T) {
	primary := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	primary.Must(t).Stop(rewindtest.Fast)
	if err := os.Remove(filepath.Join(primary.Dir, "global", "pg_control")); err != nil {
		t.Fatal(err)
	}
	err := primary.Start()
	if err == nil || !strings.Contains(err.Error(), "pg_control") {
		t.Errorf("start without pg_control: %v", err)
	}
}

func TestOptions(t *testing.T) {
	primary := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{
		Name: "a b", WalSegSize: 1, NoChecksums: true, Password: `it's a \ secret`, LogInside: true,
		Conf: map[string]string{"work_mem": "5MB", "cluster_name": `it's`},
	})
	p := primary.Must(t)
	for setting, want := range map[string]string{
		"wal_segment_size": "1MB", "data_checksums": "off", "work_mem": "5MB", "cluster_name": "it's", "fsync": "off",
	} {
		if got := p.Value("SHOW " + setting); got != want {
			t.Errorf("%s = %q, want %q", setting, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(primary.Dir, "log", "postgresql.log")); err != nil {
		t.Error(err)
	}
	s := primary.StandbyWith(t, rewindtest.StandbyOptions{Name: "s'2", Slot: "s2", Conf: map[string]string{"work_mem": "6MB"}})
	s.Must(t).WaitForCatchup(primary)
	if got := s.Must(t).Value("SHOW work_mem"); got != "6MB" {
		t.Errorf("standby's work_mem = %s, want 6MB", got)
	}
	if got := p.Value("SELECT active FROM pg_replication_slots WHERE slot_name = 's2'"); got != "t" {
		t.Errorf("slot active = %s, want t", got)
	}
	p.Exec("SELECT pg_switch_wal()") // EndOfWAL is then right after a page header
	s.Must(t).WaitForCatchup(primary)
}

func TestCloseGivesEverythingBack(t *testing.T) {
	root := rewindtest.NewRoot(t)
	n, err := rewindtest.CreatePrimary(root, rewindtest.Newest(t), rewindtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n.Must(t).Kill()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(n.Port))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 0 {
		t.Errorf("left in root: %v, %v", left, err)
	}
}
