package rewind_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind"
)

// urge is how early the kernel writes what nobody has asked it to sync. It is
// free to write anything at any time, and no sync must be missing however it decides.
type urge string

const (
	// lazy brings to the disk what was synced, and nothing else.
	lazy urge = "lazy"
	// dataFirst writes the contents of files at once, and names as late as it may.
	dataFirst urge = "data first"
	// namesFirst commits names at once, and writes contents as late as it may.
	namesFirst urge = "names first"
	// whim does the one or the other, or all, at moments of chance.
	whim urge = "whim"
)

func urges() []urge {
	if *everyCut > 0 {
		return []urge{lazy, whim, dataFirst, namesFirst}
	}
	return []urge{lazy, whim}
}

// undoUrges are those that are tried on an undo.
func undoUrges() []urge {
	if *everyCut > 0 {
		return urges()
	}
	return []urge{whim}
}

// workers is how many fetch: what they write at the same time comes in any order.
func (u urge) workers() int {
	if u == whim {
		return 4
	}
	return 1
}

// method is how the engine syncs, so that either way is cut.
func (u urge) method() rewind.SyncMethod {
	if u == dataFirst {
		return rewind.SyncFileSystems
	}
	return rewind.SyncFiles
}

// presser makes the kernel write before each step what the step before it has left.
type presser struct {
	t      *testing.T
	urge   urge
	p      *powered
	random *rand.Rand
	mu     sync.Mutex
	last   string
	quit   chan struct{}
	ended  chan struct{}
}

func (u urge) presser(t *testing.T, p *powered) *presser {
	pr := &presser{t: t, urge: u, p: p, random: rand.New(rand.NewPCG(41, 42)), quit: make(chan struct{}), ended: make(chan struct{})}
	go pr.interfere()
	return pr
}

func (pr *presser) stop() {
	close(pr.quit)
	<-pr.ended
}

// interfere syncs everything now and then, also in the middle of a step.
func (pr *presser) interfere() {
	defer close(pr.ended)
	if pr.urge != whim {
		return
	}
	random := rand.New(rand.NewPCG(43, 44))
	for {
		select {
		case <-pr.quit:
			return
		case <-time.After(time.Duration(random.IntN(30)) * time.Millisecond):
			pr.withFile([]string{pr.p.disk, pr.p.other}[random.IntN(2)], unix.Syncfs)
		}
	}
}

// press is called before a step, with the path that it changes.
func (pr *presser) press(path string) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	last := pr.last
	pr.last = path
	switch pr.urge {
	case dataFirst:
		pr.data(last)
	case namesFirst:
		pr.names()
	case whim:
		switch pr.random.IntN(8) {
		case 0:
			pr.data(last)
		case 1:
			pr.names()
		case 2:
			pr.withFile(filepath.Join(pr.p.node.Dir, last), unix.Fsync)
		case 3:
			pr.withFile(filepath.Join(pr.p.node.Dir, filepath.Dir(last)), unix.Fsync)
		}
	}
}

// data writes the contents of a file to the disk, and nothing that is known of it.
func (pr *presser) data(path string) {
	pr.withFile(filepath.Join(pr.p.node.Dir, path), func(fd int) error {
		err := unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		if err == unix.ESPIPE || err == unix.EINVAL { // a directory
			return nil
		}
		return err
	})
}

// names syncs a file of somebody else's: with ext4 and xfs that commits all names of
// a file system.
func (pr *presser) names() {
	for _, fs := range []string{pr.p.disk, pr.p.other} {
		f, err := os.OpenFile(filepath.Join(fs, "bystander"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			pr.t.Error(err)
			return
		}
		_, err = f.WriteString("x")
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			pr.t.Error(err)
		}
	}
}

// withFile does something to a file, unless it is not there, or not any more.
func (pr *presser) withFile(name string, do func(fd int) error) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	if err := do(int(f.Fd())); err != nil {
		pr.t.Errorf("sync %s: %v", name, err)
	}
}
