package rewindtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperRoot makes the test binary the victim of TestServersDieWithTheirStarter.
const helperRoot = "REWINDTEST_HELPER_ROOT"

func TestHelperStartsServer(t *testing.T) {
	root := os.Getenv(helperRoot)
	if root == "" {
		t.Skip("only for TestServersDieWithTheirStarter")
	}
	n, err := CreatePrimary(root, Newest(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("pid %d\n", n.PID())
	time.Sleep(patience) // until killed
}

func TestServersDieWithTheirStarter(t *testing.T) {
	Newest(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperStartsServer$")
	cmd.Env = append(os.Environ(), helperRoot+"="+NewRoot(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			pid, _ = strconv.Atoi(v)
		}
	}
	if pid == 0 {
		t.Fatalf("the helper started no server: %v", cmd.Wait())
	}
	server, err := openProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer server.close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	if err := server.wait(time.Now().Add(10 * time.Second)); err != nil {
		t.Error(err)
	}
}

func TestKillTreeTakesGrandchildren(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sh -c 'sleep 60 & echo started; wait' & wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	children := descendants(cmd.Process.Pid)
	if len(children) != 2 {
		t.Errorf("descendants: %v, want two", children)
	}
	root, err := openProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer root.close()
	if err := killTree(root, time.Now().Add(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	for _, pid := range append(children, cmd.Process.Pid) {
		if alive(pid) {
			t.Errorf("process %d is alive", pid)
		}
	}
}

func TestReservedPortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		p, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		defer p.release()
		if seen[p.number] || p.number < firstPort || p.number > lastPort {
			t.Fatalf("port %d is reserved twice or out of range", p.number)
		}
		seen[p.number] = true
	}
}
