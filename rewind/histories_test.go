package rewind_test

import (
	"flag"
	"testing"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// histories: the tests called TestHistory… run on the newest
// PostgreSQL that is installed. With this flag they run on all, with the cases
// that take long; with the other one stock pg_rewind gets a copy of each target,
// which takes as long again, and where it leaves a node that cannot stream a
// minute more.
var (
	histories  = flag.Bool("histories", false, "run the tests of histories on every PostgreSQL, with more rounds")
	besideOurs = flag.Bool("stock", false, "in the tests of histories run stock pg_rewind too, and print what it leaves")
)

// onMajors runs a test of histories.
func onMajors(t *testing.T, test func(t *testing.T, install rewindtest.Install)) {
	t.Helper()
	if *histories {
		rewindtest.ForEachMajor(t, test)
		return
	}
	test(t, rewindtest.Newest(t))
}

// rare skips a case that differs little from others.
func rare(t *testing.T, is bool) {
	t.Helper()
	if is && !*histories {
		t.Skip("make test-histories runs this case too")
	}
}

// rejoin rewinds a stopped node, starts it and proves that it is what its leader
// is. What stock pg_rewind makes of a copy is printed, where that was asked for.
func rejoin(t *testing.T, target, leader *rewindtest.Node) *rewind.Plan {
	t.Helper()
	return rejoinWith(t, target, leader, engineFor(t, target, leader))
}

// rejoinWith is rejoin with an engine that has options of its own.
func rejoinWith(t *testing.T, target, leader *rewindtest.Node, e *rewind.Engine) *rewind.Plan {
	t.Helper()
	var other *rewindtest.Node
	if *besideOurs && target.Install.Has("pg_rewind") {
		other = target.Clone(t, target.Name+"-stock")
	}
	p := run(t, e)
	noOwnFiles(t, target.Dir)
	prove(t, target, leader)
	if other != nil {
		stock(t, other, leader)
	}
	return p
}

// wantStrategy fails where the plan took another way than the case was built for.
func wantStrategy(t *testing.T, p *rewind.Plan, want rewind.Strategy) {
	t.Helper()
	if p.Strategy != want {
		t.Errorf("strategy %s (%s), want %s", p.Strategy, p.Reason, want)
	}
}
