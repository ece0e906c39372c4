package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// restoreCommand asks PostgreSQL's own program for the target's setting:
// configuration files include others, and only it reads them all alike.
func (d *rewindDoor) restoreCommand(ctx context.Context, o rewindOptions) (string, error) {
	postgres, err := findPostgres(ctx, d.self, o.target)
	if err != nil {
		return "", err
	}
	args := []string{"-D", o.target}
	if o.configFile != "" {
		args = append(args, "-c", "config_file="+o.configFile)
	}
	cmd := exec.CommandContext(ctx, postgres, append(args, "-C", "restore_command")...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for restore_command: %w: %s", postgres, err, bytes.TrimSpace(said.Bytes()))
	}
	command := strings.TrimSuffix(string(out), "\n")
	if command == "" {
		return "", errors.New("restore_command is not set in the target cluster")
	}
	return command, nil
}

// findPostgres finds a postgres of the target's major version: beside us, as
// pg_rewind does, in PATH, or where packages put it.
func findPostgres(ctx context.Context, self, target string) (string, error) {
	b, err := os.ReadFile(filepath.Join(target, "PG_VERSION"))
	if err != nil {
		return "", fmt.Errorf("find out the target's version: %w", err)
	}
	major := strings.TrimSpace(string(b))
	var places []string
	if called, err := exec.LookPath(self); err == nil {
		places = append(places, filepath.Dir(called))
	}
	if real, err := os.Executable(); err == nil {
		places = append(places, filepath.Dir(real))
	}
	places = append(places, filepath.SplitList(os.Getenv("PATH"))...)
	places = append(places, "/usr/lib/postgresql/"+major+"/bin", "/usr/pgsql-"+major+"/bin")
	for _, dir := range places {
		program := filepath.Join(dir, "postgres")
		out, err := exec.CommandContext(ctx, program, "-V").Output()
		// "postgres (PostgreSQL) 15.4 (Debian …)"
		if f := strings.Fields(string(out)); err == nil && len(f) > 2 && strings.HasPrefix(f[2]+".", major+".") {
			return program, nil
		}
	}
	return "", fmt.Errorf("find the program postgres of version %s: it is neither beside this program nor in PATH; -c needs it to read the target's configuration", major)
}
