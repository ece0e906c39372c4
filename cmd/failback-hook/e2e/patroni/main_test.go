package patroni

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if rewindtest.Program() != "" || len(releaseDirs()) == 0 {
		return rewindtest.Main(m)
	}
	dir, err := build()
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "patroni:", err)
		return 2
	}
	return rewindtest.Main(m)
}

// build builds the program, with the examples beside it, before the run becomes
// unprivileged: user postgres may not see the checkout.
func build() (dir string, err error) {
	dir, err = rewindtest.BuildProgram("github.com/failback-hook/failback-hook/cmd/failback-hook")
	if err != nil {
		return dir, err
	}
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../../../../examples/patroni")); err != nil {
		return dir, err
	}
	return dir, os.Setenv(examplesEnv, filepath.Join(dir, "examples"))
}

// release is one version of Patroni and the PostgreSQL that it is tried with.
type release struct {
	// bin has patroni, patronictl and etcd.
	bin     string
	version string
	major   int
	pg      rewindtest.Install
}

func (r release) path(program string) string { return filepath.Join(r.bin, program) }

func releaseDirs() []string { return filepath.SplitList(os.Getenv("FAILBACK_PATRONI")) }

// forEachRelease runs one subtest for each Patroni that FAILBACK_PATRONI names.
func forEachRelease(t *testing.T, test func(t *testing.T, r release)) {
	t.Helper()
	if len(releaseDirs()) == 0 {
		const reason = "FAILBACK_PATRONI names no Patroni (make test-patroni fetches some)"
		if os.Getenv("FAILBACK_REQUIRE_PATRONI") == "1" {
			t.Fatal(reason + "; FAILBACK_REQUIRE_PATRONI=1 asks for one")
		}
		t.Skip(reason)
	}
	for _, bin := range releaseDirs() {
		r := releaseIn(t, bin)
		t.Run("patroni-"+r.version, func(t *testing.T) { test(t, r) })
	}
}

var versionPattern = regexp.MustCompile(`^patroni ((\d+)\.\d+\.\d+)`)

// releaseIn looks at one directory. Each Patroni is tried with the PostgreSQL of
// its own Debian release where that is there, else with the newest.
func releaseIn(t *testing.T, bin string) release {
	t.Helper()
	r := release{bin: bin}
	out, err := exec.Command(r.path("patroni"), "--version").CombinedOutput()
	m := versionPattern.FindStringSubmatch(string(out))
	if err != nil || m == nil {
		t.Fatalf("%s --version: %v: %s", r.path("patroni"), err, out)
	}
	r.version = m[1]
	r.major, _ = strconv.Atoi(m[2])
	want := map[int]int{3: 15, 4: 17}[r.major]
	r.pg = rewindtest.Newest(t, "pg_basebackup", "pg_rewind", "psql")
	all := rewindtest.Majors()
	if i := slices.IndexFunc(all, func(pg rewindtest.Install) bool { return pg.Major == want && pg.Has("pg_basebackup") }); i >= 0 {
		r.pg = all[i]
	}
	return r
}
