package rewindtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programEnv hands a program that was built down to the unprivileged run of the tests:
// user postgres has no build cache.
const programEnv = "REWINDTEST_PROGRAM"

// Program is the file that BuildProgram has made, in this process or in the one that
// it was before Main; empty where there is none.
func Program() string { return os.Getenv(programEnv) }

// BuildProgram builds a program of this module by its import path, under its own name,
// into a new directory that everybody can read, and has Program name it. Call it in
// TestMain, before Main, where Program is empty. The directory is the caller's to
// remove, also next to an error.
func BuildProgram(importPath string) (dir string, err error) {
	dir, err = os.MkdirTemp("/tmp", "failback-program-")
	if err != nil {
		return "", fmt.Errorf("build the program: %w", err)
	}
	program := filepath.Join(dir, filepath.Base(importPath))
	args := append([]string{"build", "-o", program}, buildFlags()...)
	if out, err := exec.Command("go", append(args, importPath)...).CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	for _, name := range []string{dir, program} { // whatever the umask took away
		if err := os.Chmod(name, 0o755); err != nil {
			return dir, fmt.Errorf("build the program: %w", err)
		}
	}
	return dir, os.Setenv(programEnv, program)
}
