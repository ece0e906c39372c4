package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// networkEnv marks the process that has a network of its own.
const networkEnv = "E2E_OWN_NETWORK"

// TestNetworkGone: every packet vanishes, as no proxy can do it: connections stay
// established, nothing is refused, and nothing is acknowledged. All of it, servers,
// etcd and program, runs in a network namespace of its own, whose one interface is
// taken down and up again.
func TestNetworkGone(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithoutPackets$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), networkEnv+"=1")
	uid, gid := os.Geteuid(), os.Getegid()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}, // a server does not start as root
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
	}
	out, err := cmd.CombinedOutput()
	if out == nil && err != nil && !rewindtest.Required() {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWithoutPackets") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestWithoutPackets is what TestNetworkGone runs in a process of its own.
func TestWithoutPackets(t *testing.T) {
	if os.Getenv(networkEnv) == "" {
		t.Skip("run by TestNetworkGone")
	}
	network(t, true)
	s := newScene(t, rewindtest.Newest(t), rewindtest.Opts{Seed: 241, Rows: 4000, KillOld: true})
	pristine := rewindtest.Copy(t, s.old.Dir)
	for _, c := range []struct {
		name string
		// ttl of the lock, and what the program says before packets get through again.
		ttl, says string
	}{
		{"for less than the lock lasts", "30s", ""},
		{"until the lock is lost", "2s", "waiting for etcd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.restore(t, pristine)
			s.lines = "lock: {ttl: " + c.ttl + "}\n"
			r := s.startHalted(t, "--wait", "1m", "--etcd-request-timeout", "1s", "--etcd-dial-timeout", "1s", "--output", "json")
			network(t, false)
			halt(t, r, syscall.SIGCONT)
			if c.says == "" {
				time.Sleep(3 * time.Second) // nothing tells that nothing happens
			} else {
				r.untilSays(t, c.says)
			}
			network(t, true)
			s.isBack(t, r, "")
		})
	}
}

// network takes the loopback interface up or down.
func network(t *testing.T, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	flags := lo.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	lo.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}
