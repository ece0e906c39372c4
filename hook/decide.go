package hook

import (
	"fmt"
	"strings"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/pgcontrol"
)

// Decide says what is to be done about a node. It is pure: whoever has the
// same facts gets the same answer, and it can be asked again under the lock.
//
// The rules stand in the order in which they are asked, and the first one that
// applies decides. What will not pass by itself comes before what may: to wait
// for a leader is no use where this node belongs to another cluster.
//
// The leader's server is asked only when etcd and the data directory have not
// decided already: with no Upstream in the facts, and no Origin in a standby
// cluster, the answer may be VerbAsk, with them it never is.
func Decide(f Facts) Decision {
	rules := []func(Facts) (Decision, bool){
		refuseNameless,
		refuseLeader,
		refuseStandbyCluster,
		refuseOtherCluster,
		waitForLeader,
		waitForAddress,
		waitForPromotion,
		waitForState,
		askUpstream,
		refuseOtherUpstream,
		refuseItself,
		waitForRecovery,
		leaveStreaming,
		leaveCascading,
	}
	for _, rule := range rules {
		if d, ok := rule(f); ok {
			return d
		}
	}
	return rejoin(f)
}

func refuse(err error, format string, args ...any) (Decision, bool) {
	return Decision{Verb: VerbRefuse, Err: err, Reason: fmt.Sprintf(format, args...)}, true
}

func wait(err error, format string, args ...any) (Decision, bool) {
	return Decision{Verb: VerbWait, Err: err, Reason: fmt.Sprintf(format, args...)}, true
}

func nothing(format string, args ...any) (Decision, bool) {
	return Decision{Verb: VerbNothing, Reason: fmt.Sprintf(format, args...)}, true
}

// refuseNameless: without a name nobody knows whether this is the leader. That
// there is no member key of the name is no obstacle: it goes with the manager
// whose host came back a minute ago.
func refuseNameless(f Facts) (Decision, bool) {
	if f.Name != "" {
		return Decision{}, false
	}
	return refuse(ErrConfig, "this node's member name is not known")
}

// refuseLeader comes first of all that is found in etcd: whatever else is odd
// about the leader, its data directory is the one that must not be rewound.
func refuseLeader(f Facts) (Decision, bool) {
	if f.Topology.Leader == nil || f.Topology.Leader.Name != f.Name {
		return Decision{}, false
	}
	return refuse(ErrIsLeader, "the leader key of %s names %s", f.Topology.Scope, f.Name)
}

// refuseStandbyCluster: the leader there is a standby itself. Its nodes are rewound
// from the primary outside, as by Patroni, so that has to be known: a source that is
// a standby may have diverged like the node.
func refuseStandbyCluster(f Facts) (Decision, bool) {
	c := f.Topology.Config
	if c.StandbyCluster && len(c.Primary) == 0 {
		return refuse(ErrStandbyCluster, "the configuration of %s names no server of the primary outside of it", f.Topology.Scope)
	}
	if m, ok := leaderMember(f.Topology); ok && m.Role == dcs.RoleStandbyLeader && !c.StandbyCluster {
		return refuse(ErrStandbyCluster, "its leader %s follows a primary outside of %s, which the configuration does not name", m.Name, f.Topology.Scope)
	}
	return Decision{}, false
}

// refuseOtherCluster: while a cluster is bootstrapped its identifier is not
// known yet; then the leader's server will tell.
func refuseOtherCluster(f Facts) (Decision, bool) {
	if f.Topology.SystemID == 0 || f.Topology.SystemID == f.Local.SystemID {
		return Decision{}, false
	}
	return refuse(ErrSystemID, "the system identifier of %s is %s, that of the data directory %s",
		f.Topology.Scope, f.Topology.SystemID, f.Local.SystemID)
}

func waitForLeader(f Facts) (Decision, bool) {
	if f.Topology.Leader != nil {
		return Decision{}, false
	}
	return wait(ErrNoLeader, "nobody holds the leader key of %s", f.Topology.Scope)
}

func waitForAddress(f Facts) (Decision, bool) {
	m, ok := leaderMember(f.Topology)
	switch {
	case !ok:
		return wait(ErrUnknownLeader, "the leader key names %s, and there is no member key of that name", f.Topology.Leader.Name)
	case m.Host == "":
		return wait(ErrUnknownLeader, "the member key of the leader %s holds no address of its server", m.Name)
	}
	return Decision{}, false
}

// waitForPromotion: between taking the key and being a primary a member goes
// through replica and promoted, and its control file shows the old timeline
// until the checkpoint after that. A role that is missing or not known does
// not decide: the server is asked next, and it knows better.
func waitForPromotion(f Facts) (Decision, bool) {
	m, _ := leaderMember(f.Topology)
	standby := f.Topology.Config.StandbyCluster
	switch m.Role {
	case dcs.RoleUnknown, "":
	case dcs.RoleStandbyLeader: // of a standby cluster, or it was refused
	case dcs.RolePrimary:
		if standby {
			return wait(ErrLeaderNotReady, "the leader %s is to become the leader of a standby cluster, and is a primary still", m.Name)
		}
	case dcs.RolePromoting, dcs.RoleReplica:
		return wait(ErrLeaderNotReady, "%s holds the leader key and is being promoted (role %q)", m.Name, m.Role)
	case dcs.RoleDemoted:
		return wait(ErrLeaderNotReady, "the leader %s is stepping down", m.Name)
	default:
		return wait(ErrLeaderNotReady, "the leader %s has the role %q", m.Name, m.Role)
	}
	if m.CheckpointPending {
		return wait(ErrLeaderNotReady, "the leader %s has not finished the checkpoint after its promotion", m.Name)
	}
	return Decision{}, false
}

// waitForState: words of Patroni's (misc.py, PostgresqlState) for a server
// that does not answer, or is about not to. Old versions append a second state
// in parentheses, so the beginnings are compared; a word that is not here, or
// none at all, leaves it to the server.
func waitForState(f Facts) (Decision, bool) {
	m, _ := leaderMember(f.Topology)
	for _, down := range []string{
		"start", "restart", "stop", "crashed", "creating replica", "init", "running custom bootstrap", "custom bootstrap",
	} {
		if strings.HasPrefix(m.State, down) {
			return wait(ErrLeaderNotReady, "the server of the leader %s is in state %q", m.Name, m.State)
		}
	}
	return Decision{}, false
}

func askUpstream(f Facts) (Decision, bool) {
	if f.Upstream != nil && (f.Origin != nil || !f.Topology.Config.StandbyCluster) {
		return Decision{}, false
	}
	m, _ := leaderMember(f.Topology)
	return Decision{Verb: VerbAsk, Source: m, Reason: fmt.Sprintf("the server of the leader %s has to say what it is", m.Name)}, true
}

func refuseOtherUpstream(f Facts) (Decision, bool) {
	if f.Upstream.SystemID != f.Local.SystemID {
		return refuse(ErrSystemID, "the system identifier of the leader %s is %s, that of the data directory %s",
			f.Topology.Leader.Name, f.Upstream.SystemID, f.Local.SystemID)
	}
	if f.Origin != nil && f.Origin.SystemID != f.Local.SystemID {
		return refuse(ErrSystemID, "the system identifier of the %s is %s, that of the data directory %s",
			f.Origin.Member.Name, f.Origin.SystemID, f.Local.SystemID)
	}
	return Decision{}, false
}

// refuseItself: the leader's server is the one that runs here, and the member
// name is not this node's. The pid file has the process, the time of its start,
// the directory, the port and the shared memory: no two servers have it alike.
func refuseItself(f Facts) (Decision, bool) {
	here, there := serverIdentity(f.Local.PIDFile), serverIdentity(f.Upstream.PIDFile)
	if !f.Local.Running || here == "" {
		return Decision{}, false
	}
	if f.Origin != nil && here == serverIdentity(f.Origin.PIDFile) {
		return refuse(ErrIsLeader, "the server that runs on the data directory is the %s, which %s follows",
			f.Origin.Member.Name, f.Topology.Scope)
	}
	if here != there {
		return Decision{}, false
	}
	return refuse(ErrIsLeader, "the server that runs on the data directory is that of %s; is %s the right name for this node?",
		f.Topology.Leader.Name, f.Name)
}

// serverIdentity is a pid file without its last line, the server's state.
func serverIdentity(pidFile string) string {
	lines := strings.Split(pidFile, "\n")
	return strings.Join(lines[:min(len(lines), 7)], "\n")
}

// waitForRecovery: what a node is rewound from has to be a primary. The leader of a
// standby cluster is none, and must not be.
func waitForRecovery(f Facts) (Decision, bool) {
	switch {
	case f.Origin != nil && f.Origin.InRecovery:
		return wait(ErrLeaderNotReady, "the %s is in recovery, and %s follows no other server that answers", f.Origin.Member.Name, f.Topology.Scope)
	case f.Origin != nil && !f.Upstream.InRecovery:
		return wait(ErrLeaderNotReady, "the server of %s, the leader of this standby cluster, is a primary", f.Topology.Leader.Name)
	case f.Origin != nil || !f.Upstream.InRecovery:
		return Decision{}, false
	}
	return wait(ErrLeaderNotReady, "the server of the leader %s is in recovery", f.Topology.Leader.Name)
}

// leaveStreaming wants all three: a walsender of our name alone may belong to
// another program, and a standby that runs may be looping on a history that
// its primary does not share.
func leaveStreaming(f Facts) (Decision, bool) {
	if !f.Local.Running || !f.Local.StandbySignal || !f.Upstream.Streaming {
		return Decision{}, false
	}
	return nothing("the node already streams from %s", f.Topology.Leader.Name)
}

// leaveCascading: a node that by its tags follows another standby, or the
// archive, never shows up on the leader. That its manager reports the leader's
// timeline is the evidence that it follows: a node that cannot stays on its own.
func leaveCascading(f Facts) (Decision, bool) {
	me, ok := f.Topology.Member(f.Name)
	if !ok || !f.Local.Running || !f.Local.StandbySignal {
		return Decision{}, false
	}
	if me.Timeline == 0 || me.Timeline != f.Upstream.Timeline {
		return Decision{}, false
	}
	if from, _ := me.Tags["replicatefrom"].(string); from != "" && from != f.Topology.Leader.Name && from != f.Name {
		if _, there := f.Topology.Member(from); there {
			return nothing("the node follows %s by its tag, on the leader's timeline %d", from, me.Timeline)
		}
	}
	if off, _ := me.Tags["nostream"].(bool); off {
		return nothing("the node follows the archive by its tag, on the leader's timeline %d", me.Timeline)
	}
	return Decision{}, false
}

// rejoin is what is left.
func rejoin(f Facts) Decision {
	m, _ := leaderMember(f.Topology)
	d := Decision{Verb: VerbRejoin, Source: m, Reason: whyRejoin(f, m.Name)}
	if f.Origin != nil {
		d.Source, d.Follow = f.Origin.Member, &m
	}
	return d
}

func whyRejoin(f Facts, leader string) string {
	switch l := f.Local; {
	case l.Interrupted:
		return "a rewind of this node was interrupted and has to be finished"
	case l.Running && l.StandbySignal:
		return fmt.Sprintf("the server runs as a standby and does not stream from %s", leader)
	case l.Running:
		return fmt.Sprintf("the server runs as a primary beside the leader %s", leader)
	case l.StandbySignal:
		return "this node is a standby that " + howItEnded(l.State)
	default:
		return "this node is a former primary that " + howItEnded(l.State)
	}
}

// howItEnded reads what the control file of a server that does not run says of
// its end. The words of pg_controldata are those of a server that runs: "in
// production" is a primary that crashed.
func howItEnded(state string) string {
	how := "was not shut down cleanly"
	switch state {
	case pgcontrol.StateShutDown.String(), pgcontrol.StateShutDownInRecovery.String():
		return "was shut down cleanly"
	case pgcontrol.StateShuttingDown.String():
		how = "died while it was shutting down"
	case pgcontrol.StateStartup.String(), pgcontrol.StateInCrashRecovery.String():
		how = "died during crash recovery"
	}
	return fmt.Sprintf("%s (control file: %s)", how, state)
}

// leaderMember finds the member that holds the leader key.
func leaderMember(t dcs.Topology) (dcs.Member, bool) {
	if t.Leader == nil {
		return dcs.Member{}, false
	}
	return t.Member(t.Leader.Name)
}
