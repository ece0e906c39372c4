package rewind_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// crashTable is what make test-crash prints: a block for each major.
type crashTable struct{ lines []*crashLine }

// crashLine counts what was tried on one major and what failed, by what happened
// and by what was done about it.
type crashLine struct {
	version        string
	points, starts int
	took           time.Duration

	mu            sync.Mutex
	tried, failed map[[2]string]int
	alike         map[string]int
}

// The rows and columns. Those of more than one interruption are tried at some points only, and
// those of undoing at the points of an undo.
var (
	crashFaults = []string{"kill", "error", "full disk", "killed again", "leader changed twice", "drop-in first", "undo killed", "undo failed"}
	crashWays   = []string{"resume", "undo", "other leader"}
)

func (c *crashTable) line(version string) *crashLine {
	l := &crashLine{version: version, tried: map[[2]string]int{}, failed: map[[2]string]int{}, alike: map[string]int{}}
	c.lines = append(c.lines, l)
	return l
}

func (c *crashTable) String() string {
	var b strings.Builder
	for _, l := range c.lines {
		fmt.Fprintln(&b, l)
	}
	return b.String()
}

// try notes how one journey has ended.
func (l *crashLine) try(t *testing.T, fault, way string, err error) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried[[2]string{fault, way}]++
	if err != nil {
		l.failed[[2]string{fault, way}]++
		t.Errorf("%s, %s: %v", fault, way, err)
	}
}

// same notes a fault that has left what a kill leaves there, byte for byte: what
// is true of the one is true of the other.
func (l *crashLine) same(fault string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alike[fault]++
}

func (l *crashLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "PostgreSQL %s: %d points, %d contents started and compared, %s\n", l.version, l.points, l.starts, l.took.Round(time.Second))
	fmt.Fprintf(&b, "  %-22s %14s %14s %14s\n", "tried/failed", crashWays[0], crashWays[1], crashWays[2])
	for _, fault := range crashFaults {
		fmt.Fprintf(&b, "  %-22s", fault)
		for _, way := range crashWays {
			key := [2]string{fault, way}
			fmt.Fprintf(&b, " %14s", fmt.Sprintf("%d/%d", l.tried[key], l.failed[key]))
		}
		if n := l.alike[fault]; n > 0 {
			fmt.Fprintf(&b, "  and at %d points the same was left, by a kill or by what followed", n)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
