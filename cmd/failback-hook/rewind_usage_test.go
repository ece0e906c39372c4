package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestRewindUsageAsStock gives wrong command lines to PostgreSQL's own pg_rewind
// and to this program: the same is printed to the same stream, with the same code.
func TestRewindUsageAsStock(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		switch {
		case !install.Has("pg_rewind"):
			t.Skipf("%s has no pg_rewind", install)
		case install.Major < 14:
			t.Skipf("the hints of %s have another form", install)
		}
		for _, args := range wrongCommandLines(install.Major) {
			var want, wantOut, got, gotOut bytes.Buffer
			stock := exec.Command(install.Path("pg_rewind"), args...)
			stock.Stdout, stock.Stderr, stock.Env, stock.Dir = &wantOut, &want, []string{"LC_ALL=C"}, t.TempDir()
			_ = stock.Run() // its code is looked at
			d := &rewindDoor{called: "pg_rewind", args: args, uid: 1, stdout: &gotOut, stderr: &got}
			if code := d.run(t.Context()); code != stock.ProcessState.ExitCode() {
				t.Errorf("%q: exit code %d, want %d", args, code, stock.ProcessState.ExitCode())
			}
			said := strings.ReplaceAll(want.String(), stock.Path, "pg_rewind") // the C library prints argv[0]
			if diff := cmp.Diff(wantOut.String()+said, gotOut.String()+got.String()); diff != "" || gotOut.Len() != wantOut.Len() {
				t.Errorf("%q (-pg_rewind's +ours):\n%s", args, diff)
			}
		}
	})
}

// wrongCommandLines are those that fail before anything is looked at.
func wrongCommandLines(major int) [][]string {
	lines := []string{
		"", "-n", "a b", "-D t", "-D t a", "-", "--", "-- -n", "-P --progress -N -n --debug --no-ensure-shutdown",
		"--source-pgdata=s", "--source-pgdata=s a", "-R --source-pgdata=s", "-R --source-pgdata=s -D t", "-D t --source-pgdata=s a b",
		"a --source-pgdata=s -D t -- -n", "--source-pgdata=s --source-server=c a", "--source-pgdata=s --source-server=c -R -D t",
		"-Z", "-nZ", "-i -D t", "-D", "-n -D", "-nV", "-n -?", "-n --help", "-n --version", "-n --help --bogus", "-n --bogus --help",
		"--not-a-valid-option", "--bogus=1", "--target", "--target-pgdata", "--source=x", "--source", "--no", "--no-sync=1", "--d=1", "--hel",
	}
	if major >= 17 {
		lines = append(lines, "--sync-method", "--sync-method=", "--sync-method=never", "--sync-method never --bogus",
			"--bogus --sync-method=never", "--sync-method=syncfs", "--sync-method=FSYNC -D t", "--s=x")
	}
	all := make([][]string, len(lines))
	for i, line := range lines {
		all[i] = strings.Fields(line)
	}
	return all
}
