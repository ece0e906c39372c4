package hook

import (
	"fmt"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Verb is what a Decision says to do.
type Verb string

// The verbs.
const (
	// VerbRejoin: bring this node back, from Decision.Source.
	VerbRejoin Verb = "rejoin"
	// VerbNothing: the node is where it should be.
	VerbNothing Verb = "nothing to do"
	// VerbWait: not now; the same question may have another answer soon.
	VerbWait Verb = "wait"
	// VerbRefuse: not until somebody changes something.
	VerbRefuse Verb = "refuse"
	// VerbAsk: it depends on what the server of Decision.Source says of itself;
	// the answer to Facts without Upstream only.
	VerbAsk Verb = "ask"
)

// Facts are all that a Decision rests on.
type Facts struct {
	// Name is this node's member name.
	Name     string
	Topology dcs.Topology
	Local    Local
	// Upstream is nil as long as the leader's server has not been asked.
	Upstream *Upstream
	// Origin is the primary outside of a standby cluster; nil in any other, and as
	// long as Upstream is.
	Origin *Origin
}

// Origin is the primary that a standby cluster follows. Its nodes follow their own
// leader, but what they have too much has to be compared with the primary.
type Origin struct {
	// Member is made of its address: no key of this etcd tells of it.
	Member dcs.Member
	// Upstream is what it said of itself; in recovery when no server of those that
	// answered is a primary.
	Upstream
}

// Decision is what is to be done and why.
type Decision struct {
	Verb Verb `json:"verb"`
	// Reason is one sentence, without its full stop.
	Reason string `json:"reason"`
	// Err is the sentinel that VerbWait and VerbRefuse stand for; nil otherwise.
	Err error `json:"-"`
	// Source is the member to rewind from, or to ask; empty for other verbs
	// than VerbRejoin and VerbAsk.
	Source dcs.Member `json:"source"`
	// Follow is the member to stream from where that is another one than Source: the
	// leader of a standby cluster.
	Follow *dcs.Member `json:"follow,omitempty"`
}

// followed is the member to stream from.
func (d Decision) followed() dcs.Member {
	if d.Follow != nil {
		return *d.Follow
	}
	return d.Source
}

// error is what a run that must not go on returns; nil for the other verbs.
func (d Decision) error() error {
	if d.Err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", d.Verb, d.Err, d.Reason)
}

// Local is what this node is, as far as its data directory and its server tell.
type Local struct {
	SystemID pg.SystemID `json:"system_id"`
	Major    pg.Major    `json:"major"`
	// State as pg_controldata prints it.
	State    string      `json:"state"`
	Timeline pg.Timeline `json:"timeline"`
	// Running: a postmaster is alive on the directory. A pid file of a dead one does not count.
	Running bool `json:"running"`
	PID     int  `json:"pid,omitempty"`
	// PIDFile is the postmaster.pid of a running server.
	PIDFile string `json:"-"`
	// StandbySignal: standby.signal (or recovery.signal) is there.
	StandbySignal bool `json:"standby_signal"`
	// Interrupted: a journal says that a rewind was begun and not finished.
	Interrupted bool `json:"interrupted"`
}

// Upstream is what the leader's server said of itself and of us.
type Upstream struct {
	SystemID   pg.SystemID `json:"system_id"`
	InRecovery bool        `json:"in_recovery"`
	Timeline   pg.Timeline `json:"timeline"`
	// Streaming: the leader shows a walsender in state "streaming" whose
	// application_name is our member name.
	Streaming bool `json:"streaming"`
	// PIDFile is its postmaster.pid; empty where it may not be read.
	PIDFile string `json:"-"`
}
