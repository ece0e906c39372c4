package rewindtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Copy copies a stopped data directory to a new place that goes with the test,
// and returns the place; see CopyDir.
func Copy(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(NewRoot(t), "data")
	if err := CopyDir(dir, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// CopyDir copies a stopped data directory to a place that is not there yet:
// owners, modes, times and links as they are. What a linked pg_wal or tablespace
// points to is copied too, below to+"-links", and the copy's links point there:
// the two directories share nothing.
func CopyDir(from, to string) error {
	if err := copyTree(from, to); err != nil {
		return err
	}
	links := []string{"pg_wal"}
	spaces, err := os.ReadDir(filepath.Join(from, "pg_tblspc"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	for _, s := range spaces {
		links = append(links, filepath.Join("pg_tblspc", s.Name()))
	}
	for _, name := range links {
		if err := copyLinked(from, to, name); err != nil {
			return fmt.Errorf("copy %s of %s: %w", name, from, err)
		}
	}
	return nil
}

// copyLinked gives the copy a directory of its own where it has a link.
func copyLinked(from, to, name string) error {
	st, err := os.Lstat(filepath.Join(from, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(filepath.Join(from, name))
	if err != nil {
		return err
	}
	own := filepath.Join(to+"-links", filepath.Base(name))
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		return err
	}
	if err := copyTree(target, own); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(to, name)); err != nil {
		return err
	}
	return os.Symlink(own, filepath.Join(to, name))
}

func copyTree(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copy %s: %s is already there", from, to)
	}
	out, err := exec.Command("cp", "-a", "--reflink=auto", "--", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// CreateClone makes another node, with a port of its own, on a copy of the
// stopped node's directory. It is not started. Close it.
func (n *Node) CreateClone(name string) (*Node, error) {
	if n.Running() {
		return nil, fmt.Errorf("clone %s: it is running", n.Name)
	}
	opts := n.opts
	opts.Name = name
	c, err := newNode(n.root, name, n.Install, opts)
	if err != nil {
		return nil, err
	}
	err = CopyDir(n.Dir, c.Dir)
	if err == nil {
		err = c.WriteConf()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clone %s: %w", n.Name, err), c.Close())
	}
	return c, nil
}

// Clone is CreateClone for tests.
func (n *Node) Clone(t testing.TB, name string) *Node {
	t.Helper()
	c, err := n.CreateClone(name)
	if err != nil {
		t.Fatal(err)
	}
	c.closeWith(t)
	return c
}
