package hook

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// findPGCtl finds the pg_ctl of a major version: in bin where that is given,
// otherwise where the packages of the distributions put it, then in PATH. One
// of another version is refused: the server beside it would not start.
func findPGCtl(ctx context.Context, bin string, major pg.Major) (string, error) {
	const key = "postgresql.bin_dir"
	if bin != "" {
		path := filepath.Join(bin, "pg_ctl")
		if err := checkPGCtl(ctx, path, major); err != nil {
			return "", fmt.Errorf("%w: %w", ErrConfig, &FieldError{Key: key, Problem: err.Error()})
		}
		return path, nil
	}
	var tried []string
	for _, path := range usualPGCtl(major) {
		err := checkPGCtl(ctx, path, major)
		if err == nil {
			return path, nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		tried = append(tried, err.Error())
	}
	return "", fmt.Errorf("%w: %w", ErrConfig, &FieldError{Key: key,
		Problem: fmt.Sprintf("no pg_ctl of PostgreSQL %d was found (%s)", major, strings.Join(tried, "; "))})
}

// usualPGCtl: Debian and Ubuntu, the PGDG packages of Red Hat and SUSE, a
// build from source, and whatever PATH says.
func usualPGCtl(major pg.Major) []string {
	paths := []string{
		fmt.Sprintf("/usr/lib/postgresql/%d/bin/pg_ctl", major),
		fmt.Sprintf("/usr/pgsql-%d/bin/pg_ctl", major),
		fmt.Sprintf("/usr/lib/postgresql%d/bin/pg_ctl", major),
		"/usr/local/pgsql/bin/pg_ctl",
	}
	if p, err := exec.LookPath("pg_ctl"); err == nil {
		paths = append(paths, p)
	}
	return paths
}

// checkPGCtl asks a pg_ctl for its version: "pg_ctl (PostgreSQL) 15.14 (Debian …)".
func checkPGCtl(ctx context.Context, path string, major pg.Major) error {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	_, version, _ := strings.Cut(string(out), ") ")
	if got, err := strconv.Atoi(version[:leadingDigits(version)]); err != nil || got != int(major) {
		return fmt.Errorf("%s says %q, the data directory is of version %d", path, strings.TrimSpace(string(out)), major)
	}
	return nil
}

// leadingDigits counts them.
func leadingDigits(s string) int {
	for i, r := range s {
		if r < '0' || r > '9' {
			return i
		}
	}
	return len(s)
}
