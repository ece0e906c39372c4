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
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestRewindOptions(t *testing.T) {
	local := rewindOptions{target: "t", sourceDir: "s"}
	with := func(o rewindOptions, change func(*rewindOptions)) rewindOptions { change(&o); return o }
	tests := []struct {
		args string
		want rewindOptions
	}{
		{"--target-pgdata=t --source-pgdata=s", local},
		{"--target-pgdata t --source-pgdata s", local},
		{"-D t --source-pgdata s", local},
		{"-Dt --source-pgdata s", local},
		{"--source-pgdata s -D t --", local},
		{"--t=t --source-p s", local},
		{"-nNPcDt --source-pgdata s", with(local, func(o *rewindOptions) { o.dryRun, o.noSync, o.progress, o.restoreWAL = true, true, true, true })},
		{"-nD t --source-pgdata s --deb --no-e", with(local, func(o *rewindOptions) { o.dryRun, o.debug, o.noEnsureShutdown = true, true, true })},
		{"-D x -D t --source-pgdata s", local},
		{"-D t --source-server host=a\tport=1 -R", rewindOptions{target: "t", sourceServer: "host=a\tport=1", writeConf: true}},
		{"-D t --source-server=host=a --w", rewindOptions{target: "t", sourceServer: "host=a", writeConf: true}},
		{"-D -R --source-pgdata s", with(local, func(o *rewindOptions) { o.target = "-R" })},
		{"-D t --source-pgdata s --restore-target-wal --config-file=c --progress --no-sync --dry-run --sync-method syncfs",
			with(local, func(o *rewindOptions) {
				o.restoreWAL, o.configFile, o.progress, o.noSync, o.dryRun, o.syncMethod = true, "c", true, true, true, "syncfs"
			})},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got, err := parseRewindOptions(strings.Split(tt.args, " "))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(rewindOptions{})); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRewindUsage: what is printed for a wrong command line, in the order in
// which pg_rewind checks; stdout stays empty and the code is 1.
func TestRewindUsage(t *testing.T) {
	const hint = "pg_rewind: hint: Try \"pg_rewind --help\" for more information.\n"
	tests := []struct{ args, want string }{
		{"", "pg_rewind: error: no source specified (--source-pgdata or --source-server)\n" + hint},
		{"--source-pgdata=s --source-server=c", "pg_rewind: error: only one of --source-pgdata or --source-server can be specified\n" + hint},
		{"--source-pgdata=s", "pg_rewind: error: no target data directory specified (--target-pgdata)\n" + hint},
		{"--source-pgdata=s -D t -R", "pg_rewind: error: no source server information (--source-server) specified for --write-recovery-conf\n" + hint},
		{"--source-pgdata=s -D t x y", "pg_rewind: error: too many command-line arguments (first is \"x\")\n" + hint},
		{"x --source-pgdata=s -D t -- -n", "pg_rewind: error: too many command-line arguments (first is \"x\")\n" + hint},
		{"--sync-method=never --bogus", "pg_rewind: error: unrecognized sync method: never\n"},
		{"--sync-method=", "pg_rewind: error: unrecognized sync method: \n"},
		{"--bogus=1 --sync-method=never", "pg_rewind: unrecognized option '--bogus=1'\n" + hint},
		{"--sync-method", "pg_rewind: option '--sync-method' requires an argument\n" + hint},
		{"--not-a-valid-option", "pg_rewind: unrecognized option '--not-a-valid-option'\n" + hint},
		{"-nx", "pg_rewind: invalid option -- 'x'\n" + hint},
		{"-n -D", "pg_rewind: option requires an argument -- 'D'\n" + hint},
		{"--source-pgdata", "pg_rewind: option '--source-pgdata' requires an argument\n" + hint},
		{"--dry-run=yes", "pg_rewind: option '--dry-run' doesn't allow an argument\n" + hint},
		{"--source=s", "pg_rewind: option '--source=s' is ambiguous; possibilities: '--source-pgdata' '--source-server'\n" + hint},
		{"-n --help --bogus", hint},
		{"-n --version", hint},
		{"-D t --source-pgdata=s", "pg_rewind: error: cannot be executed by \"root\"\npg_rewind: hint: You must run pg_rewind as the PostgreSQL superuser.\n"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			d := &rewindDoor{called: "pg_rewind", args: strings.Fields(tt.args), uid: 0, stdout: &stdout, stderr: &stderr}
			if code := d.run(t.Context()); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if diff := cmp.Diff(tt.want, stderr.String()); diff != "" || stdout.Len() > 0 {
				t.Errorf("stdout %q; stderr (-want +got):\n%s", stdout.String(), diff)
			}
		})
	}
}

func TestRewindCalled(t *testing.T) {
	tests := []struct {
		argv   []string
		called string
		args   []string
	}{
		{[]string{"/opt/x/pg_rewind", "-n"}, "pg_rewind", []string{"-n"}},
		{[]string{"pg_rewind"}, "pg_rewind", []string{}},
		{[]string{"failback-hook", "rewind", "-n", "rewind"}, "failback-hook rewind", []string{"-n", "rewind"}},
		{[]string{"failback-hook", "-n", "rewind"}, "", nil},
		{[]string{"failback-hook"}, "", nil},
		{nil, "", nil},
	}
	for _, tt := range tests {
		d, ok := rewindCalled(tt.argv, nil, nil)
		if ok != (tt.called != "") {
			t.Errorf("%q: got %v", tt.argv, ok)
		}
		if ok && (d.called != tt.called || cmp.Diff(tt.args, d.args) != "") {
			t.Errorf("%q: got %q %q, want %q %q", tt.argv, d.called, d.args, tt.called, tt.args)
		}
	}
}

// TestRewindHelp runs the program under the name pg_rewind, as Patroni does
// several times for each recovery: to stdout, at once, and without a trace.
func TestRewindHelp(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "pg_rewind")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"--help", "-?", "--version", "-V"} {
		cmd := exec.Command(link, arg)
		cmd.Env = []string{programEnv + "=1"}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 || stdout.Len() == 0 {
			t.Errorf("%s: %v, stdout %q, stderr %q", arg, err, stdout.String(), stderr.String())
		}
		for line := range strings.Lines(stdout.String()) {
			if len(strings.TrimSuffix(line, "\n")) > 95 {
				t.Errorf("%s: a line of more than 95 characters: %q", arg, line)
			}
		}
	}
}

func TestStandbyConninfo(t *testing.T) {
	env := map[string]string{"PGPORT": "6000", "PGUSER": "u", "PGDATABASE": "fromenv", "PGPASSFILE": "/p"}
	tests := []struct {
		server string
		major  int
		want   string
	}{
		{"host=a port=5433 user='x y' dbname=postgres", 15, "host=a port=5433 user='x y' passfile=/p"},
		{"host=a port=5433 user=x dbname=postgres", 18, "host=a port=5433 user=x passfile=/p dbname=postgres"},
		{"host=a dbname=postgres replication=1 fallback_application_name=f sslcert=''", 17, "host=a port=6000 user=u passfile=/p"},
		{"postgresql://x:secret@h/db?target_session_attrs=read-write", 18,
			"user=x password=secret host=h target_session_attrs=read-write port=6000 passfile=/p dbname=db"},
		{"host=a", 18, "host=a port=6000 user=u passfile=/p dbname=fromenv"},
	}
	for _, tt := range tests {
		got, err := standbyConninfo(tt.server, env, tt.major)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(params(t, tt.want), params(t, got)); diff != "" {
			t.Errorf("%s for %d (-want +got):\n%s", tt.server, tt.major, diff)
		}
	}
	if _, err := standbyConninfo("host='a password=secret", nil, 15); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("broken connection string: %v", err)
	}
}

func params(t *testing.T, conninfo string) map[string]string {
	t.Helper()
	c, err := pg.ParseConninfo(conninfo)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for _, p := range c {
		m[p.Key] = p.Value
	}
	return m
}

func TestRewindErrors(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"missing segment, as Patroni reads it",
			&rewind.Error{Op: "find checkpoint", Advice: "do this", Err: fmt.Errorf("%w: %w", rewind.ErrTargetWAL,
				&rewind.MissingWALError{Name: "000000010000000000000003", Err: os.ErrNotExist})},
			"pg_rewind: error: could not open file \"/data/pg_wal/000000010000000000000003\": No such file or directory\n" +
				"pg_rewind: detail: find checkpoint: the target's WAL does not reach back far enough: 000000010000000000000003: file does not exist\n" +
				"pg_rewind: hint: do this\n"},
		{"grown file: one line, the last", errors.Join(&rewind.SizeError{Path: "log/x", Listed: 1, Copied: 20}, errors.New("close: more")),
			"pg_rewind: error: size of source file \"log/x\" changed concurrently: 1 bytes expected, 20 copied\n"},
		{"running source", fmt.Errorf("%w: %w", errSourceRunning, rewind.ErrTargetRunning),
			"pg_rewind: error: source data directory must be shut down cleanly\n" +
				"pg_rewind: detail: the source is in use: a server is running on the data directory\n"},
		{"running target", rewind.ErrTargetRunning,
			"pg_rewind: error: target server must be shut down cleanly\npg_rewind: detail: a server is running on the data directory\n"},
		{"server that starts up", rewind.ErrSourceNotReady, "pg_rewind: error: the source is not ready\n"},
		{"our own words", errors.New("a\nb"), "pg_rewind: error: a\npg_rewind: detail: b\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			m := &rewindMessages{w: &out}
			m.fail(tt.err, rewindOptions{target: "/data", sourceServer: "host=a"})
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRewindPlanMessages(t *testing.T) {
	p := &rewind.Plan{
		Strategy: rewind.StrategyWAL,
		Fork:     pg.Fork{LSN: 0x3000060, Timeline: 1},
		Replay:   rewind.Checkpoint{LSN: 0x2000028, Redo: 0x2000000, Timeline: 1},
		WAL: rewind.WALPlan{Keep: []string{"pg_wal/000000010000000000000002"},
			Fetch: []rewind.File{{Path: "pg_wal/00000002.history"}}, SetAside: []string{"pg_wal/000000010000000000000003"}},
		Entries: []rewind.Entry{
			{Path: "base/5/1", Action: rewind.ActionBlocks, Blocks: []rewind.BlockRun{{First: 3, Count: 2}}},
			{Path: "base/5/2", Action: rewind.ActionTail}, {Path: "x", Action: rewind.ActionRemove},
		},
		Totals: rewind.Totals{FetchBytes: 5 << 20}, Source: rewind.Side{Bytes: 70 << 20},
	}
	var out bytes.Buffer
	m := &rewindMessages{w: &out, debug: true, progress: true}
	m.plan(p)
	m.event(rewind.PhaseStarted{Phase: rewind.PhaseScanWAL})
	m.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 1 << 20, Total: 5 << 20})
	m.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 2 << 20, Total: 5 << 20}) // within the same second
	m.event(rewind.Progress{Phase: rewind.PhaseCopy, Done: 5 << 20, Total: 5 << 20})
	want := `pg_rewind: servers diverged at WAL location 0/3000060 on timeline 1
pg_rewind: rewinding from last common checkpoint at 0/2000028 on timeline 1
pg_rewind: need to copy 5 MB (total source directory size is 70 MB)
pg_rewind: Not removing file "pg_wal/000000010000000000000002" because it is required for recovery
pg_rewind: pg_wal/00000002.history (COPY)
pg_rewind: pg_wal/000000010000000000000003 (REMOVE)
pg_rewind: base/5/1 (NONE)
pg_rewind:   block 3
pg_rewind:   block 4
pg_rewind: base/5/2 (COPY_TAIL)
pg_rewind: x (REMOVE)
pg_rewind: reading WAL in target
1024/5120 kB (20%) copied
5120/5120 kB (100%) copied
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	(&rewindMessages{w: &out, debug: true}).plan(&rewind.Plan{Strategy: rewind.StrategyNone, Fork: pg.Fork{LSN: pg.MaxLSN}})
	if want := "pg_rewind: source and target cluster are on the same timeline\npg_rewind: no rewind required\n"; out.String() != want {
		t.Errorf("same timeline: got %q, want %q", out.String(), want)
	}
}

// TestFindPostgres takes a program of the target's version only.
func TestFindPostgres(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	program := func(sub, version string) string {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"postgres", "pg_rewind"} {
			script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + " (Some 1)'\n"
			if err := os.WriteFile(filepath.Join(dir, sub, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, sub)
	}
	beside, inPath, newer := program("beside", "91.2"), program("path", "91.4"), program("newer", "912.1")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("91\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	find := func(self, path string) string {
		t.Setenv("PATH", path)
		got, err := findPostgres(context.Background(), self, data)
		if err != nil {
			return err.Error()
		}
		return got
	}
	system := ":/usr/bin:/bin"
	if got, want := find(filepath.Join(beside, "pg_rewind"), inPath+system), filepath.Join(beside, "postgres"); got != want {
		t.Errorf("beside us: got %s, want %s", got, want)
	}
	if got, want := find(filepath.Join(newer, "pg_rewind"), newer+":"+inPath+system), filepath.Join(inPath, "postgres"); got != want {
		t.Errorf("in PATH: got %s, want %s", got, want)
	}
	if got := find("pg_rewind", newer+system); !strings.Contains(got, "version 91") {
		t.Errorf("nowhere: got %s", got)
	}
}
