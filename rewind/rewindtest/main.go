package rewindtest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Main is for TestMain: os.Exit(rewindtest.Main(m)). When root it runs the test
// binary again as an unprivileged user (see DropRoot) and returns its exit code;
// otherwise it runs the tests. With -v it prints once which majors they cover.
//
// What the tests of such a package should know:
//
//   - The working directory stays the package's when the other user can read
//     it, and is a temporary one otherwise. It is not writable. Tests that need
//     files embed them; golden files cannot be updated as root.
//   - Profiles, traces and coverage (-test.coverprofile, -test.outputdir, …) are
//     written to a directory of that user and copied to where they belong.
//   - Clusters that are made alike begin as copies of one initdb's result, each
//     with a system identifier of its own.
//   - Fuzzing (-test.fuzz) stays root, because new inputs go to testdata and to
//     the fuzz cache, which belong to root. Tests that need a server fail then;
//     fuzz with -run '^$'.
func Main(m *testing.M) int {
	if !fuzzing(os.Args[1:]) {
		code, dropped, err := DropRoot()
		if err != nil {
			fmt.Fprintln(os.Stderr, "rewindtest:", err)
			return 2
		}
		if dropped {
			return code
		}
	}
	flag.Parse()
	if testing.Verbose() {
		fmt.Println(coverage())
	}
	templates, err := os.MkdirTemp("", "failback-templates-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "rewindtest:", err)
		return 2
	}
	defer os.RemoveAll(templates)
	if err := os.Setenv(templatesEnv, templates); err != nil {
		fmt.Fprintln(os.Stderr, "rewindtest:", err)
		return 2
	}
	return m.Run()
}

// coverage is the sentence that says which servers the tests will meet.
func coverage() string {
	installs := Majors()
	if len(installs) == 0 {
		return "rewindtest: no PostgreSQL found"
	}
	names := make([]string, len(installs))
	for i, pg := range installs {
		names[i] = pg.String()
	}
	return "rewindtest: covers " + strings.Join(names, ", ")
}
