package powercut

import (
	"errors"
	"net/rpc"
	"os"
	"os/exec"
	"testing"
)

// FileSystem is a kind of file system.
type FileSystem string

// The kinds. What brings a name to the disk differs: with ext4 a sync of any file brings
// all names, with btrfs hardly more than what was asked for.
const (
	Ext4  FileSystem = "ext4"
	XFS   FileSystem = "xfs"
	Btrfs FileSystem = "btrfs"
)

// Image is a disk that lies in the cupboard.
type Image int

// Moment is when the power fails.
type Moment struct {
	// At counts the writes and flushes before it.
	At int
	// Seed, unless zero, makes the disk lose a part of what it had not flushed.
	Seed uint64
}

// Machine has room for one disk at a time. A test has as many machines as it opens;
// each takes its disks along when the test ends.
type Machine struct {
	t      testing.TB
	client *rpc.Client
	fs     FileSystem
}

// Open gives the machine to a test; where there is none the test is skipped, with
// the reason.
func Open(t testing.TB, fs FileSystem) *Machine {
	t.Helper()
	socket := os.Getenv(socketEnv)
	if socket == "" {
		why := os.Getenv(whyEnv)
		if why == "" {
			why = "the tests were not started as root, which loop devices and mounts take"
		}
		t.Skip("no disk to cut the power of: " + why)
	}
	if k, err := kindOf(fs); err != nil {
		t.Fatal(err)
	} else if _, err := exec.LookPath(k.mkfs[0]); err != nil {
		t.Skipf("no disk to cut the power of: %v", err)
	}
	client, err := rpc.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{t: t, client: client, fs: fs}
	t.Cleanup(func() {
		if err := errors.Join(m.try("Unmount", 0, new(int)), client.Close()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *Machine) try(method string, args, out any) error {
	return m.client.Call("Server."+method, args, out)
}

func (m *Machine) call(method string, args, out any) {
	m.t.Helper()
	if err := m.try(method, args, out); err != nil {
		m.t.Fatalf("%s: %v", method, err)
	}
}

// For gives the machine to a subtest.
func (m *Machine) For(t testing.TB) *Machine { c := *m; c.t = t; return &c }

// Format makes a disk with two empty file systems of so many megabytes each.
func (m *Machine) Format(mb int) (i Image) {
	m.t.Helper()
	m.call("Format", FormatArgs{FS: m.fs, MB: mb}, &i)
	return i
}

// Mount puts a disk in and returns the directory in which its file systems appear,
// as "1" and "2".
func (m *Machine) Mount(i Image) (dir string) {
	m.t.Helper()
	m.call("Mount", MountArgs{Image: i, FS: m.fs}, &dir)
	return dir
}

// Record is Mount of a copy whose writes are remembered, until Unmount.
func (m *Machine) Record(i Image) (dir string) {
	m.t.Helper()
	m.call("Mount", MountArgs{Image: i, FS: m.fs, Record: true}, &dir)
	return dir
}

// Unmount takes the disk out. What was recorded of it is kept until the next recording.
func (m *Machine) Unmount() { m.t.Helper(); m.call("Unmount", 0, new(int)) }

// Now is the moment behind all that was written to the recorded disk.
func (m *Machine) Now() (at int) {
	m.t.Helper()
	m.call("Now", 0, &at)
	return at
}

// Flushes are the moments of the recording behind which the disk had all that was written.
func (m *Machine) Flushes() (at []int) {
	m.t.Helper()
	m.call("Flushes", 0, &at)
	return at
}

// Cut is the disk as it is found when the power failed at a moment of the last recording.
func (m *Machine) Cut(at Moment) (i Image) {
	m.t.Helper()
	m.call("Cut", at, &i)
	return i
}

// Copy makes another disk of the same content.
func (m *Machine) Copy(of Image) (i Image) {
	m.t.Helper()
	m.call("Copy", of, &i)
	return i
}

// Drop throws a disk away.
func (m *Machine) Drop(i Image) { m.t.Helper(); m.call("Drop", i, new(int)) }
