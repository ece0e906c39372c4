package rewind_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// smallDiskEnv has the task of the process that has small file systems of its own.
const smallDiskEnv = "FAILBACK_TEST_SMALL_DISK"

// smallDiskTask is what TestOnSmallDisk is asked to do.
type smallDiskTask struct {
	// Disks are small file systems; Out is a directory with room.
	Disks []string
	Out   string
	// PGData is copied and rewound from the first of the leaders; the second
	// has taken over later.
	PGData  string
	Leaders []string
	Points  []int
	// Latch is the step with which the directory can no longer start.
	Latch int
}

// smallDiskResult is one of its answers.
type smallDiskResult struct {
	Point int
	Way   string
	Err   string
	// Hash of the rewound directory, and Dir where it lies; empty after an undo,
	// and where another result has the same.
	Hash, Dir string
}

// Ways that are none.
const (
	// noMoreRoom: what followed needed none, and the rewind ended well.
	noMoreRoom = "no more room needed"
	// asLater: the next changes needed none, and the one that failed is that of
	// another point, with the same left behind.
	asLater = "as later"
)

// fullDisk fills the disk before one step after the other. It works on real file
// systems, which need a user namespace to be mounted, in which no server can be
// started: the results are brought here.
func (m *crashMatrix) fullDisk(t *testing.T) {
	task := smallDiskTask{Out: m.place(t), PGData: m.origin, Points: m.points(), Latch: m.latch}
	for _, l := range m.leaders[:2] {
		task.Leaders = append(task.Leaders, l.Conninfo())
	}
	disks := m.place(t)
	script, args := "", []string{"--user", "--map-root-user", "--mount", "/bin/sh", "-c", "", "sh", os.Args[0], "-test.run=^TestOnSmallDisk$"}
	for i := range 2 {
		disk := filepath.Join(disks, fmt.Sprint(i))
		must(t, os.Mkdir(disk, 0o700))
		task.Disks = append(task.Disks, disk)
		script += fmt.Sprintf("mount -t tmpfs -o %s none '%s' && ", smallDiskSize, disk)
	}
	args[5] = script + `exec "$@"`
	cmd := exec.Command("unshare", args...)
	b, err := json.Marshal(task)
	must(t, err)
	cmd.Env = append(os.Environ(), smallDiskEnv+"="+string(b))
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "unshare") && !rewindtest.Required() {
		t.Skipf("no file system can be mounted here: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m.smallDiskResults(t, task)
}

// smallDiskResults notes what came of it, and proves the results.
func (m *crashMatrix) smallDiskResults(t *testing.T, task smallDiskTask) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(task.Out, "results"))
	must(t, err)
	var results []smallDiskResult
	must(t, json.Unmarshal(b, &results))
	failed := 0
	for _, r := range results {
		var err error
		leader := m.leaders[0]
		if r.Way == "other leader" {
			leader = m.leaders[1]
		}
		switch {
		case r.Err != "":
			err = errors.New(r.Err)
		case r.Dir != "":
			err = m.prove(t, r.Dir, leader)
		case r.Hash != "":
			err = m.known(r.Hash)
		}
		switch r.Way {
		case noMoreRoom:
			must(t, err)
			continue
		case asLater:
			m.same("full disk")
			continue
		}
		failed++
		if err != nil {
			err = fmt.Errorf("full before step %s: %w", m.name(r.Point), err)
		}
		m.try(t, "full disk", r.Way, err)
	}
	if failed < 20 {
		t.Errorf("only %d journeys of %d points began with a full disk", failed, len(m.points()))
	}
}

// TestOnSmallDisk is what fullDisk runs in a process of its own.
func TestOnSmallDisk(t *testing.T) {
	env := os.Getenv(smallDiskEnv)
	if env == "" {
		t.Skip("run by TestCrashMatrix")
	}
	d := &smallDisk{hashes: map[string]bool{}, ended: map[int]bool{}}
	must(t, json.Unmarshal([]byte(env), &d.smallDiskTask))
	d.before = readTree(t, d.PGData)
	points := make(chan int, len(d.Points))
	for _, at := range d.Points {
		points <- at
	}
	close(points)
	var all sync.WaitGroup
	for _, disk := range d.Disks {
		all.Go(func() {
			for at := range points {
				d.point(disk, at)
			}
		})
	}
	all.Wait()
	b, err := json.Marshal(d.results)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Out, "results"), b, 0o600))
}

// smallDisk carries the task out.
type smallDisk struct {
	smallDiskTask
	before tree

	mu      sync.Mutex
	results []smallDiskResult
	hashes  map[string]bool
	ended   map[int]bool
}

// first tells whether no other run has ended after so many changes.
func (d *smallDisk) first(made int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended[made] {
		return false
	}
	d.ended[made] = true
	return true
}

// note keeps a result; of directories that are the same only the first.
func (d *smallDisk) note(at int, way, dir string, err error) {
	r := smallDiskResult{Point: at, Way: way}
	if err == nil && dir != "" {
		r.Hash, err = resultHash(dir, d.before)
	}
	if err != nil {
		r.Err = err.Error()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Hash != "" && !d.hashes[r.Hash] {
		d.hashes[r.Hash], r.Dir = true, dir
	}
	if dir != "" && r.Dir == "" {
		_, _ = os.RemoveAll(dir), os.RemoveAll(dir+"-links")
	}
	d.results = append(d.results, r)
}

// point fills a disk before one step of a rewind. Undo has to do with the disk that
// is still full; to go on, room is made.
func (d *smallDisk) point(disk string, at int) {
	dir := filepath.Join(disk, "data")
	if err := errors.Join(empty(disk), rewindtest.CopyDir(d.PGData, dir)); err != nil {
		d.note(at, "resume", "", err)
		return
	}
	made := 0
	p, err := crashRun{dir: dir, conninfo: d.Leaders[0], before: func(string, string) error {
		if made++; made > at {
			return fill(disk)
		}
		return nil
	}}.do()
	roomy := filepath.Join(d.Out, fmt.Sprint(at))
	switch {
	case err == nil:
		d.note(at, noMoreRoom, roomy, rewindtest.CopyDir(dir, roomy))
		return
	case p == nil || !errors.Is(err, rewind.ErrNoSpace):
		d.note(at, "resume", "", err)
		return
	}
	if at > d.Latch && !d.first(made) { // before it an error makes more changes
		d.note(at, asLater, "", nil)
		return
	}
	for i, way := range []string{"resume", "other leader"} {
		to := fmt.Sprint(roomy, "-", i)
		err := rewindtest.CopyDir(dir, to)
		if err == nil {
			_, err = crashRun{dir: to, conninfo: d.Leaders[i]}.do()
		}
		if err == nil {
			err = ownFiles(to)
		}
		d.note(at, way, to, err)
	}
	d.note(at, "undo", "", d.undo(dir, at))
}

func (d *smallDisk) undo(dir string, at int) error {
	_, err := (&rewind.Engine{PGData: dir}).Undo(context.Background())
	if err != nil && (at > d.Latch || !errors.Is(err, rewind.ErrNoUndo)) {
		return err
	}
	now, err := treeOf(dir)
	if err != nil {
		return err
	}
	return now.diff(d.before)
}

// smallDiskSize is the size of a disk, as an option of mount: room enough for what
// a rewind of so small a directory asks for.
const smallDiskSize = "size=192m"

// fill takes away all that is free of a disk.
func fill(disk string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(disk, &fs); err != nil {
		return err
	}
	used := int64(fs.Blocks-fs.Bfree) * fs.Bsize
	return unix.Mount("", disk, "", unix.MS_REMOUNT, fmt.Sprint("size=", used))
}

// empty removes everything from a disk, and gives it its size back.
func empty(disk string) error {
	entries, err := os.ReadDir(disk)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(disk, e.Name())))
	}
	return errors.Join(err, unix.Mount("", disk, "", unix.MS_REMOUNT, smallDiskSize))
}
