package rewindtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// RefusesToStart starts a server on a directory that no server must start on,
// and returns nil when it ends by itself because the control file is missing. Any
// other end is an error. The directory is left as it was.
func RefusesToStart(pg Install, dir string) error {
	ctx, cancel := withPatience()
	defer cancel()
	cmd := exec.CommandContext(ctx, pg.Path("postgres"), "-D", dir)
	cmd.Env = cleanEnviron()
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it ends at once, or something is wrong
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case context.Cause(ctx) != nil:
		return fmt.Errorf("a server runs on %s:\n%s", dir, out)
	case err == nil || !errors.As(err, &exit):
		return fmt.Errorf("start a server on %s: %w\n%s", dir, err, out)
	case !strings.Contains(string(out), "global/pg_control"):
		return fmt.Errorf("a server on %s ended for another reason than its control file:\n%s", dir, out)
	}
	return nil
}
