package source_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
	"github.com/failback-hook/failback-hook/rewind/source"
)

func openUpstream(t *testing.T, conninfo string) *source.Upstream {
	t.Helper()
	u, err := source.OpenUpstream(t.Context(), conninfo)
	must(t, err)
	t.Cleanup(func() { must(t, u.Close()) })
	return u
}

func TestUpstream(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		n := rewindtest.NewPrimary(t, pg, rewindtest.Options{})
		standby := n.Standby(t, "node 2")
		standby.Must(t).WaitForCatchup(n)
		u := openUpstream(t, n.Conninfo())

		// The standby reports its positions some time after it has connected.
		var standbys []source.Standby
		for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			var err error
			standbys, err = u.Standbys(t.Context())
			must(t, err)
			if len(standbys) == 1 && standbys[0].FlushLSN != 0 && standbys[0].ReplayLSN != 0 {
				break
			}
		}
		if len(standbys) != 1 {
			t.Fatalf("got %+v, want one standby", standbys)
		}
		s := standbys[0]
		if s.ApplicationName != "node 2" || s.State != "streaming" || s.SyncState != "async" || s.Hidden ||
			s.SentLSN == 0 || s.FlushLSN == 0 || s.ReplayLSN == 0 || s.ClientAddr != "127.0.0.1" {
			t.Errorf("got %+v", s)
		}
		checkRole(t, u, 1, false)
		checkRole(t, openUpstream(t, standby.Conninfo()), 1, true)
		checkSlots(t, n, u)
		pidFile, err := os.ReadFile(filepath.Join(n.Dir, "postmaster.pid"))
		must(t, err)
		if got, err := u.PIDFile(t.Context()); err != nil || got != string(pidFile) {
			t.Errorf("postmaster.pid is %q, %v, want %q", got, err, pidFile)
		}
		must(t, u.Checkpoint(t.Context()))

		n.Must(t).Restart() // the next question goes over a new connection
		if _, err := u.Standbys(t.Context()); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		n.Must(t).Stop(rewindtest.Fast)
		standby.Must(t).Promote()
		checkRole(t, openUpstream(t, standby.Conninfo()), 2, false)
	})
}

func checkRole(t *testing.T, u *source.Upstream, timeline uint32, inRecovery bool) {
	t.Helper()
	if got, err := u.Timeline(t.Context()); err != nil || uint32(got) != timeline {
		t.Errorf("timeline is %v, %v, want %d", got, err, timeline)
	}
	if got, err := u.InRecovery(t.Context()); err != nil || got != inRecovery {
		t.Errorf("in recovery is %v, %v, want %v", got, err, inRecovery)
	}
}

func checkSlots(t *testing.T, n *rewindtest.Node, u *source.Upstream) {
	t.Helper()
	if _, err := u.SlotInfo(t.Context(), "node_1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no slot: got %v, want fs.ErrNotExist", err)
	}
	for i, want := range []bool{true, false} {
		if got, err := u.EnsureSlot(t.Context(), "node_1"); err != nil || got != want {
			t.Errorf("call %d: created is %v, %v, want %v", i+1, got, err, want)
		}
	}
	slot, err := u.SlotInfo(t.Context(), "node_1")
	if err != nil || slot.Name != "node_1" || !slot.Physical || slot.Active || slot.RestartLSN == 0 || slot.WALStatus != "reserved" {
		t.Errorf("got %+v, %v", slot, err)
	}
	for _, name := range []string{"", "Node", "node-1", "x'", strings.Repeat("x", 64)} {
		if _, err := u.EnsureSlot(t.Context(), name); err == nil {
			t.Errorf("a slot %q was made", name)
		}
	}
	n.Must(t).SetConf("wal_level", "logical")
	n.Must(t).Restart()
	n.Must(t).Exec("SELECT pg_create_logical_replication_slot('logical', 'test_decoding')")
	if _, err := u.EnsureSlot(t.Context(), "logical"); err == nil || !strings.Contains(err.Error(), "logical slot") {
		t.Errorf("a logical slot: got %v", err)
	}
	n.Must(t).Exec("SELECT pg_drop_replication_slot('logical')")
}

// TestUpstreamPrivileges: a user without rights learns which ones are missing.
func TestUpstreamPrivileges(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	n.Standby(t, "standby").Must(t).WaitForCatchup(n)
	n.Must(t).Exec("CREATE ROLE few LOGIN")
	u := openUpstream(t, n.Conninfo("user=few"))
	standbys, err := u.Standbys(t.Context())
	if err != nil || len(standbys) != 1 || !standbys[0].Hidden || standbys[0].ApplicationName != "standby" {
		t.Errorf("got %+v, %v, want one hidden standby", standbys, err)
	}
	checkRole(t, u, 1, false)
	if err := u.Checkpoint(t.Context()); !errors.Is(err, rewind.ErrSourcePrivilege) || !strings.Contains(hint(err), "pg_checkpoint") {
		t.Errorf("Checkpoint: got %v with hint %q", err, hint(err))
	}
	if _, err := u.PIDFile(t.Context()); !errors.Is(err, rewind.ErrSourcePrivilege) {
		t.Errorf("PIDFile: got %v", err)
	}
	if _, err := u.EnsureSlot(t.Context(), "x"); !errors.Is(err, rewind.ErrSourcePrivilege) || !strings.Contains(hint(err), "REPLICATION") {
		t.Errorf("EnsureSlot: got %v with hint %q", err, hint(err))
	}
}

func TestCheckConninfo(t *testing.T) {
	for conninfo, want := range map[string]string{
		"":                                "",
		"user=postgres sslmode=require":   "",
		"usr=postgres":                    `unknown option "usr"`,
		"user=postgres sslmode=certainly": "sslmode is invalid",
	} {
		err := source.CheckConninfo(conninfo)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", conninfo, err, want)
		}
	}
}

// TestRefusedTLS: that a server without TLS refuses it is the error when TLS was
// demanded, and no part of it when it was only preferred.
func TestRefusedTLS(t *testing.T) {
	n := rewindtest.NewPrimary(t, rewindtest.Newest(t), rewindtest.Options{})
	for sslmode, refused := range map[string]bool{"prefer": false, "require": true} {
		_, err := source.OpenUpstream(t.Context(), n.Conninfo("user=nobody sslmode="+sslmode))
		if !errors.Is(err, rewind.ErrSourceAuth) || strings.Contains(err.Error(), "TLS") != refused ||
			strings.Contains(err.Error(), "does not exist") == refused {
			t.Errorf("%s: got %v", sslmode, err)
		}
	}
}
