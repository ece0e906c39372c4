package e2e

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// pgRewind runs the program under the name pg_rewind and gives its exit code.
func pgRewind(t *testing.T, stderr io.Writer, args ...string) int {
	t.Helper()
	link := filepath.Join(t.TempDir(), "pg_rewind")
	if err := os.Symlink(rewindtest.Program(), link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), link, args...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	err := cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	if stdout.Len() > 0 {
		t.Errorf("stdout is not empty: %s", stdout.String())
	}
	return cmd.ProcessState.ExitCode()
}

// rejoined starts the rewound node with its own configuration and compares it
// with its leader.
func rejoined(t *testing.T, old, leader *rewindtest.Node) {
	t.Helper()
	if err := old.WriteConf(); err != nil {
		t.Fatal(err)
	}
	old.Must(t).Start()
	old.Must(t).WaitForCatchup(leader)
	rewindtest.CompareTables(t, leader, old)
	rewindtest.AmCheck(t, old)
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func exists(t *testing.T, parts ...string) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join(parts...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestPgRewindFromServer: a primary that was killed, a running source, -R.
func TestPgRewindFromServer(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		p := rewindtest.Diverged(t, pg, rewindtest.Opts{Seed: 211, KillOld: true})
		put(t, p.New.Dir, "conf.d/theirs.conf", "# of the source\n")
		put(t, p.Old.Dir, "mine/x", "of the target\n")
		args := []string{"-D", p.Old.Dir, "--source-server", p.New.Conninfo("application_name=" + p.Old.Name), "-RP"}

		var stderr bytes.Buffer
		if code := pgRewind(t, &stderr, append(args, "--no-ensure-shutdown")...); code != 1 ||
			!strings.Contains(stderr.String(), "pg_rewind: error: target server must be shut down cleanly\n") {
			t.Errorf("--no-ensure-shutdown on a killed primary: code %d, %s", code, stderr.String())
		}
		before := takeSnapshot(t, p.Old.Dir)
		if code := pgRewind(t, &stderr, append(args, "--dry-run")...); code != 0 {
			t.Errorf("--dry-run: code %d, %s", code, stderr.String())
		}
		before.unchanged(t, p.Old.Dir)

		stderr.Reset()
		if code := pgRewind(t, &stderr, args...); code != 0 {
			t.Fatalf("code %d: %s", code, stderr.String())
		}
		for _, want := range []string{
			"pg_rewind: connected to server\n",
			"pg_rewind: servers diverged at WAL location " + p.Fork.String() + " on timeline 1\n",
			"pg_rewind: rewinding from last common checkpoint at ",
			"kB (100%) copied\n",
			"pg_rewind: Done!\n",
		} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("stderr lacks %q:\n%s", want, stderr.String())
			}
		}
		if !exists(t, p.Old.Dir, "conf.d/theirs.conf") || exists(t, p.Old.Dir, "mine") {
			t.Error("files outside PostgreSQL's directories are not the source's")
		}
		rejoined(t, p.Old, p.New)
		if got := p.Old.Must(t).Value("SHOW primary_slot_name"); got != "" {
			t.Errorf("primary_slot_name is %q: -R writes none", got)
		}

		p.Old.Must(t).Stop(rewindtest.Fast)
		stderr.Reset()
		const nothing = "pg_rewind: source and target cluster are on the same timeline\npg_rewind: no rewind required\n"
		if code := pgRewind(t, &stderr, args[:len(args)-1]...); code != 0 || stderr.String() != nothing {
			t.Errorf("once more: code %d, stderr %q, want %q", code, stderr.String(), nothing)
		}
	})
}

// TestPgRewindFromDirectory: a stopped source in which a file grows, so that
// the run fails halfway. It leaves the directory as it found it, and the same
// command does it all.
func TestPgRewindFromDirectory(t *testing.T) {
	t.Parallel()
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		p := rewindtest.Diverged(t, pg, rewindtest.Opts{Seed: 223, KillOld: true})
		args := []string{"--debug", "--target-pgdata=" + p.Old.Dir, "--source-pgdata", p.New.Dir, "-N"}
		var stderr bytes.Buffer
		if code := pgRewind(t, &stderr, args...); code != 1 || !strings.Contains(stderr.String(), "source data directory must be shut down cleanly") {
			t.Errorf("running source: code %d, %s", code, stderr.String())
		}
		p.New.Must(t).Stop(rewindtest.Fast)

		put(t, p.New.Dir, "growing/file", "a")
		said, err := os.OpenFile(filepath.Join(p.New.Dir, "growing/file"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := rewindtest.Copy(t, p.Old.Dir)
		code := pgRewind(t, said, args...)
		if err := said.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if last := lines[len(lines)-1]; code != 1 || !strings.Contains(last, `error: size of source file "growing/file"`) {
			t.Errorf("growing source: code %d, last line %q", code, last)
		}
		if diff := rewindtest.DiffTrees(t, p.Old.Dir, before, nil); len(diff) > 0 {
			t.Errorf("a run that failed halfway has changed: %v", diff)
		}

		stderr.Reset()
		if code := pgRewind(t, &stderr, args...); code != 0 || !strings.HasSuffix(stderr.String(), "pg_rewind: Done!\n") {
			t.Fatalf("second run: code %d, %s", code, stderr.String())
		}
		if exists(t, p.Old.Dir, "standby.signal") {
			t.Error("standby.signal without -R")
		}
		p.New.Must(t).Start()
		p.Old.Must(t).Follow(p.New)
		rejoined(t, p.Old, p.New)
	})
}

// TestPgRewindFromArchive: what the target's pg_wal has lost comes from its
// archive, and what replay needs of it is put in place.
func TestPgRewindFromArchive(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, pg rewindtest.Install) {
		p := rewindtest.Diverged(t, pg, rewindtest.Opts{Seed: 227, Quiet: true, Steps: 10, Before: func(old, _ *rewindtest.Node) error {
			return old.Exec("CREATE TABLE segments (n int)", "CHECKPOINT", "INSERT INTO segments VALUES (1)", "SELECT pg_switch_wal()",
				"INSERT INTO segments VALUES (2)", "SELECT pg_switch_wal()")
		}})
		t.Setenv("PATH", pg.Bin+":"+os.Getenv("PATH")) // -c asks the server's program for restore_command
		archive := t.TempDir()
		walDir := filepath.Join(p.Old.Dir, "pg_wal")
		segments := func(dir, timeline string) []string {
			found, err := filepath.Glob(filepath.Join(dir, timeline+"????????????????"))
			if err != nil || len(found) == 0 {
				t.Fatalf("segments of timeline %s in %s: %v, %v", timeline, dir, found, err)
			}
			return found
		}
		toArchive := func(f string) {
			if err := os.Rename(f, filepath.Join(archive, filepath.Base(f))); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range segments(walDir, "00000001") {
			toArchive(f)
		}
		newDir := filepath.Join(p.New.Dir, "pg_wal")
		for _, f := range segments(newDir, "00000001") { // as if recycled
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		p.New.Must(t).Exec("CREATE TABLE after_fork (n int)", "SELECT pg_switch_wal()", "CHECKPOINT", "INSERT INTO after_fork VALUES (1)")
		withFork := segments(newDir, "00000002")[0]
		toArchive(withFork)
		args := []string{"--debug", "-D", p.Old.Dir, "--source-server", p.New.Conninfo("application_name=" + p.Old.Name), "-R"}
		var stderr bytes.Buffer
		code := pgRewind(t, &stderr, args...)
		if code != 1 || !strings.Contains(stderr.String(), `could not open file "`+walDir+"/0000000100000000000000") {
			t.Fatalf("without the archive: code %d, %s", code, stderr.String())
		}
		put(t, p.Old.Dir, "archive.conf", "restore_command = 'cp \""+archive+"/%f\" \"%p\"'\n")
		args = append(args, "-c", "--config-file="+filepath.Join(p.Old.Dir, "archive.conf"), "--dry-run")
		before := takeSnapshot(t, p.Old.Dir)
		stderr.Reset()
		if code := pgRewind(t, &stderr, args...); code != 0 {
			t.Fatalf("dry run: code %d, %s", code, stderr.String())
		}
		before.unchanged(t, p.Old.Dir)
		stderr.Reset()
		if code := pgRewind(t, &stderr, args[:len(args)-1]...); code != 0 {
			t.Fatalf("code %d, %s", code, stderr.String())
		}
		segments(walDir, "00000001") // neither side had any: they are the archive's
		if !exists(t, walDir, filepath.Base(withFork)) {
			t.Errorf("%s was not brought back", filepath.Base(withFork))
		}
		rejoined(t, p.Old, p.New)
	})
}
