package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/failback-hook/failback-hook/rewind"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// The columns of the picture: the common part, and a branch.
const (
	trunkWidth  = 16
	branchWidth = 14
)

// renderTimelines draws how the two histories part:
//
//	                            fork 0/3000148
//	timeline 1  ----------------+-------------x   n1 (this node), to 0/5A000060
//	                            |
//	timeline 2                  '------------->   n2 (leader), at 0/61000000
//
// A side that went on along the last common timeline is drawn on its line; one
// that left it has a line of its own.
func renderTimelines(w io.Writer, plan *rewind.Plan, member, leader string) {
	p := page{w}
	target := branch{timeline: plan.Target.Timeline, end: 'x',
		label: side(member, "this node", "to", plan.Target.EndOfWAL)}
	source := branch{timeline: plan.Source.Timeline, end: '>',
		label: side(leader, "leader", "at", plan.Source.EndOfWAL)}
	p.line("")
	if plan.Fork.LSN == pg.MaxLSN || plan.Fork.LSN == 0 {
		p.line("%s%s   %s", timelineName(source.timeline), strings.Repeat("-", trunkWidth)+"x", target.label)
		p.line("%s%s   %s", strings.Repeat(" ", len(timelineName(0))), strings.Repeat("-", trunkWidth+branchWidth)+">", source.label)
		return
	}
	p.line("%s%sfork %s", strings.Repeat(" ", len(timelineName(0))), strings.Repeat(" ", trunkWidth), plan.Fork.LSN)
	trunk := timelineName(plan.Fork.Timeline) + strings.Repeat("-", trunkWidth) + "+"
	leaving := []branch{target, source}
	switch plan.Fork.Timeline {
	case target.timeline:
		p.line("%s%s", trunk, target.draw())
		leaving = leaving[1:]
	case source.timeline:
		p.line("%s%s", trunk, source.draw())
		leaving = leaving[:1]
	default:
		p.line("%s", trunk)
	}
	gap := strings.Repeat(" ", trunkWidth)
	for i, b := range leaving {
		joint := "+"
		if i == len(leaving)-1 {
			joint = "'"
		}
		p.line("%s%s|", strings.Repeat(" ", len(timelineName(0))), gap)
		p.line("%s%s%s%s", timelineName(b.timeline), gap, joint, b.draw())
	}
}

// branch is one side's line behind the fork.
type branch struct {
	timeline pg.Timeline
	end      byte
	label    string
}

func (b branch) draw() string {
	return strings.Repeat("-", branchWidth) + string(b.end) + "   " + b.label
}

// timelineName is the left column, of one width.
func timelineName(t pg.Timeline) string { return fmt.Sprintf("  timeline %-4d ", t) }

func side(name, role, word string, end pg.LSN) string {
	s := fmt.Sprintf("%s (%s)", name, role)
	if end != 0 && end != pg.MaxLSN {
		s += fmt.Sprintf(", %s %s", word, end)
	}
	return s
}
