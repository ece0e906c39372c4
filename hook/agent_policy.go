package hook

import (
	"fmt"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// AgentConfig is how patient an agent is. Zero fields mean their defaults.
type AgentConfig struct {
	// Interval is how often the node is looked at while nothing calls.
	Interval time.Duration
	// DownAfter is how long a server that should be a standby of the leader may be
	// down, StuckAfter how long one that runs may not stream: a manager, or the
	// server itself, may be about to put it right.
	DownAfter, StuckAfter time.Duration
	// FenceAfter is how long this node's server may run as a primary while the
	// leader key is another's before it is stopped and rejoined. Zero: it is never
	// stopped for that, only reported.
	FenceAfter time.Duration
}

// The defaults of AgentConfig.
const (
	DefaultAgentInterval   = 10 * time.Second
	DefaultAgentDownAfter  = 10 * time.Second
	DefaultAgentStuckAfter = 30 * time.Second
)

// Rejoins that fail follow one another at growing distances.
const (
	firstAgentPause   = 10 * time.Second
	longestAgentPause = 10 * time.Minute
)

func (c AgentConfig) withDefaults() AgentConfig {
	if c.Interval <= 0 {
		c.Interval = DefaultAgentInterval
	}
	if c.DownAfter <= 0 {
		c.DownAfter = DefaultAgentDownAfter
	}
	if c.StuckAfter <= 0 {
		c.StuckAfter = DefaultAgentStuckAfter
	}
	return c
}

// Condition is how a node stands, as an agent sees it.
type Condition string

// The conditions.
const (
	// ConditionUnknown: it cannot be told, because etcd, the directory or the
	// leader's server cannot be read.
	ConditionUnknown Condition = "unknown"
	// ConditionLeads: this node holds the leader key.
	ConditionLeads Condition = "leads"
	// ConditionFollows: this node streams from the leader, or from whom it should.
	ConditionFollows Condition = "follows"
	// ConditionNoLeader: there is no leader to follow yet.
	ConditionNoLeader Condition = "no leader"
	// ConditionRefused: nothing can be done before somebody changes something.
	ConditionRefused Condition = "refused"
	// ConditionInterrupted: a rewind of this node was begun and not finished.
	ConditionInterrupted Condition = "interrupted"
	// ConditionDown: the server is down that was a primary, or died as a standby.
	ConditionDown Condition = "down"
	// ConditionStopped: the server is a standby that was shut down in order: whoever
	// did so will start it again.
	ConditionStopped Condition = "stopped"
	// ConditionStuck: the server is a standby that runs and does not stream.
	ConditionStuck Condition = "stuck"
	// ConditionSecondPrimary: the server runs as a primary, and the leader is another.
	ConditionSecondPrimary Condition = "second primary"
)

// sight is what an agent has seen when it looked.
type sight struct {
	facts    Facts
	decision Decision
	err      error
}

// condition sorts what was seen. It is pure.
func (s sight) condition() Condition {
	if s.err != nil {
		return ConditionUnknown
	}
	switch s.decision.Verb {
	case VerbNothing:
		return ConditionFollows
	case VerbWait:
		return ConditionNoLeader
	case VerbRejoin:
	default:
		if l := s.facts.Topology.Leader; l != nil && l.Name == s.facts.Name {
			return ConditionLeads
		}
		return ConditionRefused
	}
	switch l := s.facts.Local; {
	case l.Interrupted:
		return ConditionInterrupted
	case l.Running && l.StandbySignal:
		return ConditionStuck
	case l.Running:
		return ConditionSecondPrimary
	case l.StandbySignal && l.State == pgcontrol.StateShutDownInRecovery.String():
		return ConditionStopped
	}
	return ConditionDown
}

// vigil is what an agent remembers from one look to the next.
type vigil struct {
	condition Condition
	// leader is the term in which the condition began.
	leader dcs.Leader
	since  time.Time
	// failures in a row, why the last one, and when the next rejoin may be tried.
	failures  int
	why       string
	notBefore time.Time
}

// step is what an agent does next.
type step struct {
	rejoin bool
	// line says what it does or waits for.
	line string
	// within is when to look again at the latest.
	within time.Duration
}

// next decides what follows from a look. It is pure: the same vigil, sight and
// time give the same answer.
//
// A node that has to be rejoined is given a time in which its manager, or the
// server itself, can put it right; it runs anew when the condition or the leader
// changes. A rejoin that failed is tried again at growing distances, which a new
// leader cuts short.
func (c AgentConfig) next(v vigil, s sight, now time.Time) (vigil, step) {
	condition := s.condition()
	var leader dcs.Leader
	if s.facts.Topology.Leader != nil {
		leader = *s.facts.Topology.Leader
	}
	switch {
	case condition == ConditionUnknown:
		// What was known before is neither confirmed nor over. Its time begins anew:
		// nobody has seen that it lasted.
		v.since = now
		return v, step{line: "cannot look: " + Briefly(s.err), within: c.Interval}
	case condition != v.condition || !leader.Same(v.leader):
		if !leader.Same(v.leader) || condition == ConditionFollows || condition == ConditionLeads {
			v = vigil{}
		}
		v.condition, v.leader, v.since = condition, leader, now
	}
	after, acts := c.patience(condition)
	if !acts {
		return v, step{line: idleLine(condition, s), within: c.Interval}
	}
	due := v.since.Add(after)
	if v.notBefore.After(due) {
		due = v.notBefore
	}
	if left := due.Sub(now); left > 0 {
		line := fmt.Sprintf("%s: rejoin in %s, if it has not come by itself", s.decision.Reason, spoken(left))
		if v.failures > 0 {
			line = fmt.Sprintf("%s; %s; once more in %s", s.decision.Reason, v.why, spoken(left))
		}
		return v, step{line: line, within: min(left, c.Interval)}
	}
	return v, step{rejoin: true, line: "rejoining: " + s.decision.Reason}
}

// patience is how long a condition is only looked at; acts is false where nothing
// is ever done about it.
func (c AgentConfig) patience(condition Condition) (after time.Duration, acts bool) {
	switch condition {
	case ConditionInterrupted:
		return 0, true
	case ConditionDown:
		return c.DownAfter, true
	case ConditionStuck:
		return c.StuckAfter, true
	case ConditionSecondPrimary:
		return c.FenceAfter, c.FenceAfter > 0
	}
	return 0, false
}

// idleLine says why nothing is done.
func idleLine(condition Condition, s sight) string {
	switch condition {
	case ConditionLeads:
		return "this node is the leader"
	case ConditionStopped:
		return "the server is a standby that was shut down in order; whoever did so is to start it"
	case ConditionSecondPrimary:
		return s.decision.Reason + "; agent.fence_after is not set, so that it is left alone: clients may be writing to the wrong server"
	case ConditionNoLeader:
		return "waiting: " + s.decision.Reason
	case ConditionRefused:
		return "nothing can be done: " + s.decision.Reason
	}
	return s.decision.Reason
}

// failed notes a rejoin that did not succeed.
func (v vigil) failed(now time.Time, why string) vigil {
	pause := firstAgentPause
	for range min(v.failures, 10) {
		pause *= 2
	}
	v.failures++
	v.why = why
	v.notBefore = now.Add(min(pause, longestAgentPause))
	return v
}

// succeeded forgets what was, so that the next trouble is given its time again.
func (v vigil) succeeded() vigil { return vigil{} }
