package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/failback-hook/failback-hook/dcs/dcstest"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// rootTrialEnv is what root hands down to the unprivileged run.
const rootTrialEnv = "E2E_ROOT_TRIAL"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	heedHangups()
	if rewindtest.Program() != "" {
		return rewindtest.Main(m)
	}
	dir, err := rewindtest.BuildProgram("github.com/failback-hook/failback-hook/cmd/failback-hook")
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err == nil && os.Geteuid() == 0 {
		err = tryAsRoot()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	return rewindtest.Main(m)
}

// heedHangups undoes a nohup around the tests: a signal that is ignored is so in every
// program that they start, and one that is caught is not.
func heedHangups() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}

// trial is a run of the program as root, which only root can make.
type trial struct {
	Code   int
	Stderr string
	// Left are the entries of the data directory afterwards.
	Left []string
}

// tryAsRoot runs the program as root against an etcd of its own, and leaves
// the outcome to TestRefusesRoot.
func tryAsRoot() (err error) {
	dir, err := os.MkdirTemp("", "failback-e2e-root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	etcd, err := dcstest.NewServer(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	cmd := exec.Command(rewindtest.Program(), "--etcd-endpoints", etcd.Endpoint(), "--scope", scope, "--name", "node1", "-D", data)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Env, cmd.Dir = &stderr, []string{"PATH=/usr/bin:/bin", "HOME=" + dir}, "/"
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	result := trial{Code: cmd.ProcessState.ExitCode(), Stderr: stderr.String()}
	for _, e := range entries {
		result.Left = append(result.Left, e.Name())
	}
	b, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return os.Setenv(rootTrialEnv, string(b))
}
