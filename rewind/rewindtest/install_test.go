package rewindtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// fakeInstall makes a directory of programs that only know their version.
func fakeInstall(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"postgres", "initdb"} {
		script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
		if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMajorsPrefersTheEnvironment(t *testing.T) {
	dirs := []string{fakeInstall(t, "15.99 (Debian 15.99-1)"), fakeInstall(t, "18beta2"), fakeInstall(t, "19devel"),
		fakeInstall(t, "12.4"), fakeInstall(t, "13.1"), t.TempDir()}
	t.Setenv("FAILBACK_PG_BIN", strings.Join(dirs, ":"))
	t.Setenv("FAILBACK_PG_MAJOR", "")
	byMajor := map[int]rewindtest.Install{}
	last := 0
	for _, pg := range rewindtest.Majors() {
		if pg.Major <= last {
			t.Errorf("major %d after %d", pg.Major, last)
		}
		last = pg.Major
		byMajor[pg.Major] = pg
	}
	for major, want := range map[int]rewindtest.Install{
		15: {Major: 15, Bin: dirs[0], Version: "15.99"},
		18: {Major: 18, Bin: dirs[1], Version: "18beta2"},
		13: {Major: 13, Bin: dirs[4], Version: "13.1"},
		19: {}, 12: {},
	} {
		if got := byMajor[major]; got != want {
			t.Errorf("major %d: got %v, want %v", major, got, want)
		}
	}
	if byMajor[15].Has("pg_rewind") || !byMajor[15].Has("initdb") {
		t.Error("Has does not look at the programs")
	}
	for major, want := range map[string][]rewindtest.Install{"18": {byMajor[18]}, "19": {}, "1": {}} {
		t.Setenv("FAILBACK_PG_MAJOR", major)
		if diff := cmp.Diff(want, rewindtest.Majors()); diff != "" {
			t.Errorf("only %s (-want +got):\n%s", major, diff)
		}
	}
}

func TestInstallInRefusesWhatIsNone(t *testing.T) {
	if _, err := rewindtest.InstallIn(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no postgres") {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := rewindtest.InstallIn(fakeInstall(t, "of unknown age")); err == nil || !strings.Contains(err.Error(), "unexpected answer") {
		t.Errorf("unknown version: %v", err)
	}
}
