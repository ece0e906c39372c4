package rewindtest

import (
	"os"
	"testing"
)

// NewRoot makes a short directory for the nodes of one test and removes it at
// the end: t.TempDir's names grow with the test's and leave no room for a
// socket.
func NewRoot(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp("", "pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeAll(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// NewPrimary makes and starts a primary that ends with the test. Where the test
// fails, the end of its server log is printed.
func NewPrimary(t testing.TB, pg Install, opts Options) *Node {
	t.Helper()
	n, err := CreatePrimary(NewRoot(t), pg, opts)
	if err != nil {
		t.Fatal(err)
	}
	n.closeWith(t)
	return n
}

// Standby makes and starts a standby of the running node that ends with the test.
func (n *Node) Standby(t testing.TB, name string) *Node {
	t.Helper()
	return n.StandbyWith(t, StandbyOptions{Name: name})
}

// StandbyWith is Standby with options.
func (n *Node) StandbyWith(t testing.TB, opts StandbyOptions) *Node {
	t.Helper()
	s, err := n.CreateStandby(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.closeWith(t)
	return s
}

func (n *Node) closeWith(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.Log(60))
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Must wraps the node for a test: its methods fail the test instead of returning
// an error.
func (n *Node) Must(t testing.TB) MustNode { return MustNode{t, n} }

// MustNode is a Node whose errors end the test.
type MustNode struct {
	t testing.TB
	n *Node
}

// Node is the node that is wrapped.
func (m MustNode) Node() *Node { return m.n }

func (m MustNode) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// Start is Node.Start.
func (m MustNode) Start() { m.t.Helper(); m.ok(m.n.Start()) }

// Stop is Node.Stop.
func (m MustNode) Stop(mode StopMode) { m.t.Helper(); m.ok(m.n.Stop(mode)) }

// Restart is Node.Restart.
func (m MustNode) Restart() { m.t.Helper(); m.ok(m.n.Restart()) }

// Kill is Node.Kill.
func (m MustNode) Kill() { m.t.Helper(); m.ok(m.n.Kill()) }

// Promote is Node.Promote.
func (m MustNode) Promote() { m.t.Helper(); m.ok(m.n.Promote()) }

// Checkpoint is Node.Checkpoint.
func (m MustNode) Checkpoint() { m.t.Helper(); m.ok(m.n.Checkpoint()) }

// Follow is Node.Follow.
func (m MustNode) Follow(upstream *Node) { m.t.Helper(); m.ok(m.n.Follow(upstream)) }

// SetConf is Node.SetConf.
func (m MustNode) SetConf(name, value string) { m.t.Helper(); m.ok(m.n.SetConf(name, value)) }

// WaitForCatchup is Node.WaitForCatchup.
func (m MustNode) WaitForCatchup(upstream *Node) { m.t.Helper(); m.ok(m.n.WaitForCatchup(upstream)) }

// Exec is Node.Exec.
func (m MustNode) Exec(sql ...string) { m.t.Helper(); m.ok(m.n.Exec(sql...)) }

// ExecIn is Node.ExecIn.
func (m MustNode) ExecIn(database string, sql ...string) {
	m.t.Helper()
	m.ok(m.n.ExecIn(database, sql...))
}

// Query is Node.Query.
func (m MustNode) Query(sql string) [][]string {
	m.t.Helper()
	rows, err := m.n.Query(sql)
	m.ok(err)
	return rows
}

// Value is Node.Value.
func (m MustNode) Value(sql string) string {
	m.t.Helper()
	v, err := m.n.Value(sql)
	m.ok(err)
	return v
}
