package hook

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestRestoreCommand: the server's own setting is what PostgreSQL makes of all
// its configuration files, wherever they are; another one wins over it.
func TestRestoreCommand(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		const command = `cp "/a b/%f" '%p'`
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{})
		n.Must(t).Exec("ALTER SYSTEM SET restore_command = '" + strings.ReplaceAll(command, "'", "''") + "'")
		r := &run{h: &Hook{Log: zap.NewNop()}, log: zap.NewNop(), cfg: nodeConfig(n), report: &Report{}}
		r.facts.Local.Major = pg.Major(install.Major)
		check := func(what, want string, warnings int) {
			t.Helper()
			r.report.Warnings = nil
			if got := r.restoreCommand(t.Context()); got != want || len(r.report.Warnings) != warnings {
				t.Errorf("%s: got %q and warnings %q, want %q", what, got, r.report.Warnings, want)
			}
		}
		check("of a server that runs", command, 0)
		n.Must(t).Stop(rewindtest.Fast)
		check("of one that is stopped", command, 0)
		must(t, os.Rename(filepath.Join(n.Dir, "global/pg_control"), filepath.Join(n.Dir, "global/away")))
		check("of a directory that cannot start", command, 0)

		r.facts.Topology.Config.RestoreCommand = "the cluster's"
		r.cfg.RestoreCommand = RestoreCluster
		check("of the server before the cluster's", command, 0)

		elsewhere := filepath.Join(t.TempDir(), "other.conf")
		must(t, os.WriteFile(elsewhere, []byte("restore_command = 'other'\n"), 0o644))
		must(t, os.WriteFile(filepath.Join(n.Dir, "postgresql.auto.conf"), nil, 0o600))
		r.cfg.ConfigFile = elsewhere
		check("in a file elsewhere", "other", 0)
		must(t, os.WriteFile(elsewhere, nil, 0o644))
		check("the cluster's where the server has none", "the cluster's", 0)
		r.cfg.RestoreCommand = RestoreAuto
		check("but not unasked", "", 0)
		must(t, os.WriteFile(elsewhere, []byte("no such setting = 1\n"), 0o644))
		check("in a file with errors", "", 1)

		r.cfg.RestoreCommand = "mine"
		check("configured here", "mine", 0)
		r.cfg.RestoreCommand = RestoreNever
		check("not wanted", "", 0)
	})
}

// TestRestoreCommandReachesTheEngine also for a plan.
func TestRestoreCommandReachesTheEngine(t *testing.T) {
	for _, dry := range []bool{false, true} {
		s := newStage(t)
		s.hook.Config.RestoreCommand = "cp /archive/%f %p"
		do := s.hook.Rejoin
		if dry {
			do = s.hook.DryRun
		}
		enough := errors.New("enough")
		s.fail["plan"] = enough
		if _, err := do(t.Context()); !errors.Is(err, enough) {
			t.Errorf("dry run %t: got %v", dry, err)
		}
		if got := s.options.RestoreCommand; got != "cp /archive/%f %p" {
			t.Errorf("dry run %t: got %q", dry, got)
		}
	}
}
