package rewindtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The majors that the project supports.
const (
	OldestMajor = 13
	NewestMajor = 18
)

// Install is one PostgreSQL installation.
type Install struct {
	// Major is 15 for 15.4.
	Major int
	// Bin is the absolute directory of its programs.
	Bin string
	// Version as the server prints it: "15.4".
	Version string
}

// Path is the absolute name of one of the programs.
func (i Install) Path(program string) string { return filepath.Join(i.Bin, program) }

// Has tells whether the installation has a program: pg_amcheck came with 14,
// and minimal packages leave some out.
func (i Install) Has(program string) bool {
	st, err := os.Stat(i.Path(program))
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

// HasExtension tells whether a contrib module can be created.
func (i Install) HasExtension(name string) bool {
	out, err := exec.Command(i.Path("pg_config"), "--sharedir").Output()
	dirs := []string{strings.TrimSpace(string(out))}
	if err != nil { // pg_config belongs to a development package on some systems
		dirs = []string{
			filepath.Join(i.Bin, "../../../../share/postgresql", strconv.Itoa(i.Major)), // Debian
			filepath.Join(filepath.Dir(i.Bin), "share"),
			filepath.Join(filepath.Dir(i.Bin), "share", "postgresql"),
		}
	}
	return slices.ContainsFunc(dirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "extension", name+".control"))
		return err == nil
	})
}

// String names the installation: "PostgreSQL 15.4 in /usr/lib/postgresql/15/bin".
func (i Install) String() string { return "PostgreSQL " + i.Version + " in " + i.Bin }

// Majors finds the installed PostgreSQL servers, one for each major, oldest
// first: in the directories of FAILBACK_PG_BIN (separated by colons), in the
// places of the Debian and PGDG packages, and in PATH. What comes first there
// wins; majors outside OldestMajor..NewestMajor are left out, and so is every
// other one where FAILBACK_PG_MAJOR names a major.
func Majors() []Install {
	dirs := filepath.SplitList(os.Getenv("FAILBACK_PG_BIN"))
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(pattern) // the only error is a bad pattern
		dirs = append(dirs, found...)
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	byMajor := map[int]Install{}
	for _, dir := range dirs {
		i, err := InstallIn(dir)
		if err != nil || i.Major < OldestMajor || i.Major > NewestMajor || !wanted(i.Major) {
			continue
		}
		if _, known := byMajor[i.Major]; !known {
			byMajor[i.Major] = i
		}
	}
	installs := make([]Install, 0, len(byMajor))
	for _, i := range byMajor {
		installs = append(installs, i)
	}
	slices.SortFunc(installs, func(a, b Install) int { return a.Major - b.Major })
	return installs
}

// wanted tells whether FAILBACK_PG_MAJOR lets a major through. With it, the tests
// that take the newest major for time's sake can be run on each.
func wanted(major int) bool {
	only := os.Getenv("FAILBACK_PG_MAJOR")
	return only == "" || only == strconv.Itoa(major)
}

var versionPattern = regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+)(?:\.\d+|[a-z]+\d*)?)`)

// InstallIn looks at one directory of programs. A directory without postgres
// and initdb is an error: a client package is no installation. Programs that only
// add an oracle or save time (pg_rewind, pg_basebackup, …) may be missing: see Has.
func InstallIn(bin string) (Install, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return Install{}, err
	}
	i := Install{Bin: bin}
	for _, program := range []string{"postgres", "initdb"} {
		if !i.Has(program) {
			return Install{}, fmt.Errorf("look for PostgreSQL in %s: no %s", bin, program)
		}
	}
	out, err := exec.Command(i.Path("postgres"), "-V").Output()
	if err != nil {
		return Install{}, fmt.Errorf("ask %s for its version: %w", i.Path("postgres"), err)
	}
	m := versionPattern.FindStringSubmatch(string(out))
	if m == nil {
		return Install{}, fmt.Errorf("ask %s for its version: unexpected answer %q", i.Path("postgres"), out)
	}
	i.Version = m[1]
	i.Major, err = strconv.Atoi(m[2])
	return i, err
}

// Required tells whether a missing PostgreSQL fails tests instead of skipping
// them: FAILBACK_REQUIRE_PG=1, as CI sets it.
func Required() bool { return os.Getenv("FAILBACK_REQUIRE_PG") == "1" }

// ForEachMajor runs one subtest for each installed major, named "pg15". Where
// there is none the test is skipped, or fails when FAILBACK_REQUIRE_PG=1.
func ForEachMajor(t *testing.T, test func(t *testing.T, pg Install)) {
	t.Helper()
	installs := Majors()
	if len(installs) == 0 {
		missing(t)
	}
	for _, pg := range installs {
		t.Run("pg"+strconv.Itoa(pg.Major), func(t *testing.T) { test(t, pg) })
	}
}

// Newest gives the newest installed major that has all these programs to tests
// and benchmarks that need only one; it skips or fails as ForEachMajor does where
// there is none.
func Newest(t testing.TB, programs ...string) Install {
	t.Helper()
	for _, pg := range slices.Backward(Majors()) {
		if !slices.ContainsFunc(programs, func(name string) bool { return !pg.Has(name) }) {
			return pg
		}
	}
	missing(t, programs...)
	return Install{} // not reached
}

func missing(t testing.TB, programs ...string) {
	t.Helper()
	with := ""
	if len(programs) > 0 {
		with = " with " + strings.Join(programs, ", ")
	}
	majors := os.Getenv("FAILBACK_PG_MAJOR")
	if majors == "" {
		majors = fmt.Sprintf("%d to %d", OldestMajor, NewestMajor)
	}
	reason := fmt.Sprintf("no PostgreSQL %s%s under /usr/lib/postgresql, /usr/pgsql-*, FAILBACK_PG_BIN or PATH", majors, with)
	// Nobody can be asked for programs that the packages of one major lack.
	if Required() && (len(programs) == 0 || os.Getenv("FAILBACK_PG_MAJOR") == "") {
		t.Fatal(reason + "; FAILBACK_REQUIRE_PG=1 asks for one")
	}
	t.Skip(reason)
}
