package rewind_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// crashProofs proves rewound directories by starting them: one of each content.
// What is the same, byte for byte, as what was started and compared need not be
// started again.
type crashProofs struct {
	mu sync.Mutex
	// node runs the servers, one after the other.
	node *rewindtest.Node
	// before is what the directories held once.
	before tree
	// proven tells of each content whether its proof has succeeded.
	proven  map[string]bool
	started int
}

func newCrashProofs(t *testing.T, s *crashScene) *crashProofs {
	t.Helper()
	return &crashProofs{node: s.old.Clone(t, follower), before: s.before, proven: map[string]bool{}}
}

// prove fails unless the directory, which it may take away, holds what the leader
// holds once it streams from it.
func (c *crashProofs) prove(t *testing.T, dir string, leader *rewindtest.Node) error {
	t.Helper()
	hash, err := resultHash(dir, c.before)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ok, known := c.proven[hash]
	if !known {
		ok = t.Run("started", func(t *testing.T) { c.start(t, dir, leader) })
		c.proven[hash] = ok
		c.started++
	}
	if !ok {
		return fmt.Errorf("the result %s is not what %s holds", hash, leader.Name)
	}
	return nil
}

// known is prove for a content that was proven before, and does not lie anywhere
// any more.
func (c *crashProofs) known(hash string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.proven[hash] {
		return fmt.Errorf("the result %s is not proven", hash)
	}
	return nil
}

func (c *crashProofs) start(t *testing.T, dir string, leader *rewindtest.Node) {
	must(t, os.RemoveAll(c.node.Dir))
	must(t, os.Rename(dir, c.node.Dir)) // links keep leading to what lies beside dir
	must(t, c.node.WriteConf())
	defer c.node.Must(t).Stop(rewindtest.Immediate)
	prove(t, c.node, leader)
	c.node.Must(t).Stop(rewindtest.Fast)
	rewindtest.Checksums(t, c.node.Install, c.node.Dir)
}

// copyAll copies a directory with the WAL that was salvaged from it.
func copyAll(from, to string) error {
	if _, err := os.Stat(salvageOf(from)); err == nil {
		if err := rewindtest.CopyDir(salvageOf(from), salvageOf(to)); err != nil {
			return err
		}
	}
	return rewindtest.CopyDir(from, to)
}

// walIn is what a salvage directory holds but for its reports.
func walIn(dir string) (tree, error) {
	all, err := treeOf(dir)
	if err != nil {
		return nil, err
	}
	wal := tree{}
	for p, s := range all {
		if base := filepath.Base(p); base != rewind.SalvageManifestName && base != rewind.SalvageReportName {
			wal[base] = entryState{what: s.what, sum: s.sum}
		}
	}
	return wal, nil
}

// checkSalvage is an error where the WAL is not salvaged that only this node had.
// More may be: what runs have fetched from a leader that is none any more.
func (m *crashMatrix) checkSalvage(dir string) error {
	if m.dropIn {
		return nil
	}
	got, err := walIn(salvageOf(dir))
	if err != nil {
		return err
	}
	for p, want := range m.salvage {
		switch s, ok := got[p]; {
		case !strings.HasPrefix(want.what, "-"): // a directory
		case !ok:
			return fmt.Errorf("%s was not salvaged", p)
		case s != want:
			return fmt.Errorf("what was salvaged as %s is not the node's own", p)
		}
	}
	return nil
}

// ownFiles is an error where the engine left something of its own behind, in
// PGDATA or in a tablespace.
func ownFiles(dir string) error {
	spaces, err := filepath.Glob(filepath.Join(dir, "pg_tblspc/*/failback_hook*"))
	if err != nil {
		return err
	}
	for _, p := range append(spaces, filepath.Join(dir, rewind.JournalDir), filepath.Join(dir, "pg_wal/failback_hook")) {
		if _, err := os.Lstat(p); err == nil {
			return fmt.Errorf("%s is still there", p)
		}
	}
	return nil
}
