package hook

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// restoreCommand is what fetches WAL that the node no longer has; empty for
// nothing. That the server's own setting cannot be read is no reason to stop:
// mostly no WAL is missing.
func (r *run) restoreCommand(ctx context.Context) string {
	switch r.cfg.RestoreCommand {
	case RestoreNever:
		return ""
	case RestoreAuto, RestoreCluster:
	default:
		return r.cfg.RestoreCommand
	}
	command, err := serverSetting(ctx, r.cfg, r.facts.Local.Major, "restore_command")
	if err != nil {
		r.warn("the server's restore_command is not known, WAL that is gone here will not be looked for in the archive: %v", err)
	}
	// Patroni writes the setting when it starts a standby: the configuration of a
	// primary that has never been one lacks it. What etcd says is run only where
	// that was asked for.
	if command == "" && r.cfg.RestoreCommand == RestoreCluster {
		command = r.facts.Topology.Config.RestoreCommand
	}
	return command
}

// serverSetting asks PostgreSQL's own program for a setting, with the options that
// the server is started with: configuration files include others, and only it reads
// them all alike.
func serverSetting(ctx context.Context, cfg Config, major pg.Major, name string) (string, error) {
	pgCtl, err := findPGCtl(ctx, cfg.BinDir, major)
	if err != nil {
		return "", err
	}
	options, err := startOptions(cfg)
	if err != nil {
		return "", err
	}
	postgres := filepath.Join(filepath.Dir(pgCtl), "postgres")
	cmd := exec.CommandContext(ctx, postgres, slices.Concat([]string{"-D", cfg.PGData}, options, []string{"-C", name})...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for %s: %w: %s", postgres, name, err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
