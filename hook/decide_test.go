package hook

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/failback-hook/failback-hook/dcs"
)

// sound is the state of a cluster after a failover: n2 leads, n1 is down.
func sound() Facts {
	return Facts{
		Name: "n1",
		Topology: dcs.Topology{
			Layout: dcs.LayoutPatroni, Scope: "main", Prefix: "/service/main/", Revision: 50, SystemID: 7,
			Leader: &dcs.Leader{Name: "n2", CreateRevision: 40, ModRevision: 48, Lease: 9},
			Members: []dcs.Member{
				{Name: "n2", Role: dcs.RolePrimary, State: "running", Host: "10.0.0.2", Port: 5432, Timeline: 2, Lease: 9},
				{Name: "n3", Role: dcs.RoleReplica, State: "running", Host: "10.0.0.3", Port: 5432, Timeline: 2, Lease: 10},
			},
			Config: dcs.Config{UseSlots: true},
		},
		Local:    Local{SystemID: 7, Major: 15, State: "in production", Timeline: 1},
		Upstream: &Upstream{SystemID: 7, Timeline: 2},
	}
}

// leader changes what n2's member key says.
func leader(change func(*dcs.Member)) func(*Facts) {
	return func(f *Facts) { change(&f.Topology.Members[0]) }
}

func leaderState(state string) func(*Facts) {
	return leader(func(m *dcs.Member) { m.State = state })
}

func leaderRole(role dcs.Role) func(*Facts) {
	return leader(func(m *dcs.Member) { m.Role = role })
}

// me adds a member key of this node.
func me(m dcs.Member) func(*Facts) {
	return func(f *Facts) {
		m.Name = "n1"
		f.Topology.Members = append(f.Topology.Members, m)
	}
}

func all(changes ...func(*Facts)) func(*Facts) {
	return func(f *Facts) {
		for _, c := range changes {
			c(f)
		}
	}
}

func runningStandby(f *Facts) {
	f.Local.Running, f.Local.PID, f.Local.StandbySignal, f.Local.State = true, 99, true, "in archive recovery"
}

// standbyCluster makes n2 the leader of one.
func standbyCluster(f *Facts) {
	f.Topology.Config.StandbyCluster, f.Topology.Config.Primary = true, []dcs.Address{{Host: "10.9.0.1", Port: 5432}}
	f.Topology.Members[0].Role = dcs.RoleStandbyLeader
	f.Upstream.InRecovery = true
	f.Origin = &Origin{Member: dcs.Member{Name: "primary at 10.9.0.1:5432", Host: "10.9.0.1", Port: 5432}, Upstream: Upstream{SystemID: 7, Timeline: 2}}
}

func streaming(f *Facts) { f.Upstream.Streaming = true }

func notAsked(f *Facts) { f.Upstream = nil }

func TestDecide(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Facts)
		verb   Verb
		err    error
		reason string // a part of it
	}{
		// Who this node is.
		{"no name", func(f *Facts) { f.Name = "" }, VerbRefuse, ErrConfig, "member name"},
		{"is the leader", func(f *Facts) { f.Name = "n2" }, VerbRefuse, ErrIsLeader, "n2"},
		{"is the leader, and stopped", all(func(f *Facts) { f.Name = "n2" }, leaderState("stopped")), VerbRefuse, ErrIsLeader, ""},
		{"is the leader, of another system", func(f *Facts) { f.Name, f.Topology.SystemID = "n2", 8 }, VerbRefuse, ErrIsLeader, ""},
		{"is the leader of a standby cluster", func(f *Facts) { f.Name, f.Topology.Config.StandbyCluster = "n2", true }, VerbRefuse, ErrIsLeader, ""},
		{"is the leader without a member key", func(f *Facts) { f.Name, f.Topology.Members = "n2", nil }, VerbRefuse, ErrIsLeader, ""},
		{"names differ in case", func(f *Facts) { f.Name = "N2" }, VerbRejoin, nil, "former primary"},

		// What cannot pass by itself comes before what can.
		{"standby cluster that names an archive alone", func(f *Facts) { f.Topology.Config.StandbyCluster = true }, VerbRefuse, ErrStandbyCluster, "outside"},
		{"the primary outside, on this very directory", all(standbyCluster, func(f *Facts) {
			f.Local.Running = true
			f.Local.PIDFile = pidFileText(99, "/pgdata", time.Unix(1000, 0))
			f.Origin.PIDFile = f.Local.PIDFile
		}), VerbRefuse, ErrIsLeader, "primary at"},
		{"the primary outside, of another system", all(standbyCluster, func(f *Facts) { f.Origin.SystemID = 8 }), VerbRefuse, ErrSystemID, "primary at"},
		{"the leader of a standby cluster", all(standbyCluster, func(f *Facts) { f.Name = "n2" }), VerbRefuse, ErrIsLeader, ""},
		{"standby cluster by configuration, without a leader", func(f *Facts) { f.Topology.Config.StandbyCluster, f.Topology.Leader = true, nil }, VerbRefuse, ErrStandbyCluster, ""},
		{"standby leader whose checkpoint flag stays", all(leaderRole(dcs.RoleStandbyLeader), leader(func(m *dcs.Member) { m.CheckpointPending = true })), VerbRefuse, ErrStandbyCluster, "n2"},
		{"another cluster by etcd", func(f *Facts) { f.Topology.SystemID = 8 }, VerbRefuse, ErrSystemID, "8"},
		{"another cluster by etcd, without a leader", func(f *Facts) { f.Topology.SystemID, f.Topology.Leader = 8, nil }, VerbRefuse, ErrSystemID, ""},
		{"another cluster by the leader's server", func(f *Facts) { f.Topology.SystemID, f.Upstream.SystemID = 0, 8 }, VerbRefuse, ErrSystemID, "n2"},
		{"another cluster, whose server is in recovery", func(f *Facts) { f.Upstream.SystemID, f.Upstream.InRecovery = 8, true }, VerbRefuse, ErrSystemID, ""},
		{"another cluster on a running standby that streams", all(runningStandby, streaming, func(f *Facts) { f.Upstream.SystemID = 8 }), VerbRefuse, ErrSystemID, ""},

		{"the leader itself, under another name", func(f *Facts) {
			f.Local.Running = true
			f.Local.PIDFile = pidFileText(99, "/pgdata", time.Unix(1000, 0))
			f.Upstream.PIDFile = strings.Replace(f.Local.PIDFile, "ready   ", "starting", 1)
		}, VerbRefuse, ErrIsLeader, "the right name"},
		{"a server of the same age", func(f *Facts) {
			f.Local.Running = true
			f.Local.PIDFile = pidFileText(99, "/pgdata", time.Unix(1000, 0))
			f.Upstream.PIDFile = pidFileText(98, "/pgdata", time.Unix(1000, 0))
		}, VerbRejoin, nil, "as a primary beside"},

		// The leader.
		{"no leader", func(f *Facts) { f.Topology.Leader = nil }, VerbWait, ErrNoLeader, "main"},
		{"no leader, interrupted", func(f *Facts) { f.Topology.Leader, f.Local.Interrupted = nil, true }, VerbWait, ErrNoLeader, ""},
		{"leader without a member key", func(f *Facts) { f.Topology.Members = f.Topology.Members[1:] }, VerbWait, ErrUnknownLeader, "no member key"},
		{"leader without an address", leader(func(m *dcs.Member) { m.Host = "" }), VerbWait, ErrUnknownLeader, "address"},
		{"leader just took the key", leaderRole(dcs.RoleReplica), VerbWait, ErrLeaderNotReady, "promoted"},
		{"leader is promoted", leaderRole(dcs.RolePromoting), VerbWait, ErrLeaderNotReady, "promoted"},
		{"leader steps down", leaderRole(dcs.RoleDemoted), VerbWait, ErrLeaderNotReady, "stepping down"},
		{"leader has no data directory", leaderRole(dcs.RoleUninitialized), VerbWait, ErrLeaderNotReady, "uninitialized"},
		{"checkpoint after promotion pending", leader(func(m *dcs.Member) { m.CheckpointPending = true }), VerbWait, ErrLeaderNotReady, "checkpoint"},
		{"leader starting", leaderState("starting"), VerbWait, ErrLeaderNotReady, "starting"},
		{"leader stopping", leaderState("stopping"), VerbWait, ErrLeaderNotReady, "stopping"},
		{"leader stopped", leaderState("stopped"), VerbWait, ErrLeaderNotReady, "stopped"},
		{"leader failed to start", leaderState("start failed"), VerbWait, ErrLeaderNotReady, "start failed"},
		{"leader failed to restart, old wording", leaderState("restart failed (running)"), VerbWait, ErrLeaderNotReady, "restart failed"},
		{"leader restarting", leaderState("restarting"), VerbWait, ErrLeaderNotReady, "restarting"},
		{"leader crashed", leaderState("crashed"), VerbWait, ErrLeaderNotReady, "crashed"},
		{"leader being bootstrapped", leaderState("initializing new cluster"), VerbWait, ErrLeaderNotReady, "initializing"},
		{"leader's bootstrap failed", leaderState("custom bootstrap failed"), VerbWait, ErrLeaderNotReady, "bootstrap"},
		{"leader being cloned", leaderState("creating replica"), VerbWait, ErrLeaderNotReady, "creating replica"},
		{"leader's server in recovery", func(f *Facts) { f.Upstream.InRecovery = true }, VerbWait, ErrLeaderNotReady, "recovery"},

		{"the primary outside in recovery", all(standbyCluster, func(f *Facts) { f.Origin.InRecovery = true }), VerbWait, ErrLeaderNotReady, "primary at"},
		{"the leader of a standby cluster is a primary", all(standbyCluster, func(f *Facts) { f.Upstream.InRecovery = false }), VerbWait, ErrLeaderNotReady, "is a primary"},
		{"the leader of a standby cluster was a primary a moment ago", all(standbyCluster, leaderRole(dcs.RolePrimary)), VerbWait, ErrLeaderNotReady, "still"},
		{"the leader of a standby cluster starts", all(standbyCluster, leaderState("starting")), VerbWait, ErrLeaderNotReady, "starting"},

		// What is left to the server to say.
		{"standby cluster, not asked yet", all(standbyCluster, notAsked, func(f *Facts) { f.Origin = nil }), VerbAsk, nil, ""},
		{"standby cluster, the primary not asked yet", all(standbyCluster, func(f *Facts) { f.Origin = nil }), VerbAsk, nil, ""},
		{"not asked yet", notAsked, VerbAsk, nil, "n2"},
		{"not asked yet, role unknown", all(notAsked, leaderRole(dcs.RoleUnknown)), VerbAsk, nil, ""},
		{"not asked yet, role absent", all(notAsked, leaderRole("")), VerbAsk, nil, ""},
		{"not asked yet, state unknown to us", all(notAsked, leaderState("hibernating")), VerbAsk, nil, ""},
		{"not asked yet, state absent", all(notAsked, leaderState("")), VerbAsk, nil, ""},
		{"not asked yet, identifier not in etcd", all(notAsked, func(f *Facts) { f.Topology.SystemID = 0 }), VerbAsk, nil, ""},
		{"not asked yet, this node running", all(notAsked, runningStandby), VerbAsk, nil, ""},
		{"not needed: no leader", all(notAsked, func(f *Facts) { f.Topology.Leader = nil }), VerbWait, ErrNoLeader, ""},
		{"not needed: this is the leader", all(notAsked, func(f *Facts) { f.Name = "n2" }), VerbRefuse, ErrIsLeader, ""},

		// Nothing to do.
		{"standby that streams from the leader of a standby cluster", all(standbyCluster, runningStandby, streaming), VerbNothing, nil, "n2"},
		{"standby that streams", all(runningStandby, streaming), VerbNothing, nil, "n2"},
		{"standby that streams, paused", all(runningStandby, streaming, func(f *Facts) { f.Topology.Config.Paused = true }), VerbNothing, nil, ""},
		{"standby that follows another by its tag", all(runningStandby, me(dcs.Member{Timeline: 2, Tags: map[string]any{"replicatefrom": "n3"}})), VerbNothing, nil, "n3"},
		{"standby that follows the archive by its tag", all(runningStandby, me(dcs.Member{Timeline: 2, Tags: map[string]any{"nostream": true}})), VerbNothing, nil, "archive"},

		// Rejoin.
		{"in a standby cluster", standbyCluster, VerbRejoin, nil, "a former primary"},
		{"in a standby cluster whose leader's checkpoint flag stays", all(standbyCluster, leader(func(m *dcs.Member) { m.CheckpointPending = false })), VerbRejoin, nil, ""},
		{"crashed primary", func(*Facts) {}, VerbRejoin, nil, "a former primary that was not shut down cleanly (control file: in production)"},
		{"primary that was shut down", func(f *Facts) { f.Local.State = "shut down" }, VerbRejoin, nil, "a former primary that was shut down cleanly"},
		{"primary that still runs", func(f *Facts) { f.Local.Running = true }, VerbRejoin, nil, "as a primary beside"},
		{"primary that runs, and a walsender of our name", all(streaming, func(f *Facts) { f.Local.Running = true }), VerbRejoin, nil, "as a primary beside"},
		{"standby that runs on another branch", runningStandby, VerbRejoin, nil, "does not stream"},
		{"standby that is down", func(f *Facts) { f.Local.StandbySignal, f.Local.State = true, "shut down in recovery" }, VerbRejoin, nil, "a standby that was shut down cleanly"},
		{"standby that crashed", func(f *Facts) { f.Local.StandbySignal, f.Local.State = true, "in archive recovery" }, VerbRejoin, nil, "a standby that was not shut down cleanly (control file: in archive recovery)"},
		{"primary that was killed while it shut down", func(f *Facts) { f.Local.State = "shutting down" }, VerbRejoin, nil, "died while it was shutting down"},
		{"primary that was killed in crash recovery", func(f *Facts) { f.Local.State = "in crash recovery" }, VerbRejoin, nil, "died during crash recovery"},
		{"standby that is down, with a walsender that has not noticed", all(streaming, func(f *Facts) { f.Local.StandbySignal = true }), VerbRejoin, nil, "a standby that was not shut down"},
		{"interrupted rewind", func(f *Facts) { f.Local.Interrupted = true }, VerbRejoin, nil, "interrupted"},
		{"interrupted rewind of a standby", func(f *Facts) { f.Local.Interrupted, f.Local.StandbySignal = true, true }, VerbRejoin, nil, "interrupted"},
		{"own member key says primary", me(dcs.Member{Role: dcs.RolePrimary, State: "running"}), VerbRejoin, nil, ""},
		{"own member key is there", me(dcs.Member{Role: dcs.RoleReplica, State: "stopped"}), VerbRejoin, nil, ""},
		{"paused", func(f *Facts) { f.Topology.Config.Paused = true }, VerbRejoin, nil, ""},
		{"leader key without a lease", func(f *Facts) { f.Topology.Leader.Lease = 0 }, VerbRejoin, nil, ""},
		{"local timeline is higher than the leader's", func(f *Facts) { f.Local.Timeline = 5 }, VerbRejoin, nil, ""},
		{"cascading, but stuck on the old timeline", all(runningStandby, me(dcs.Member{Timeline: 1, Tags: map[string]any{"replicatefrom": "n3"}})), VerbRejoin, nil, ""},
		{"cascading, timeline not reported", all(runningStandby, me(dcs.Member{Tags: map[string]any{"replicatefrom": "n3"}})), VerbRejoin, nil, ""},
		{"cascading from a member that is gone", all(runningStandby, me(dcs.Member{Timeline: 2, Tags: map[string]any{"replicatefrom": "n9"}})), VerbRejoin, nil, ""},
		{"cascading from the leader itself", all(runningStandby, me(dcs.Member{Timeline: 2, Tags: map[string]any{"replicatefrom": "n2"}})), VerbRejoin, nil, ""},
		{"cascading, but stopped", me(dcs.Member{Timeline: 2, Tags: map[string]any{"replicatefrom": "n3"}}), VerbRejoin, nil, ""},
		{"tags of odd types", all(runningStandby, me(dcs.Member{Timeline: 2, Tags: map[string]any{"replicatefrom": 3, "nostream": "yes"}})), VerbRejoin, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := sound()
			tt.change(&f)
			d := Decide(f)
			if d.Verb != tt.verb || !errors.Is(d.Err, tt.err) || !strings.Contains(d.Reason, tt.reason) {
				t.Errorf("got %s (%s, error %v), want %s (…%s…, error %v)", d.Verb, d.Reason, d.Err, tt.verb, tt.reason, tt.err)
			}
			if d.Reason == "" {
				t.Error("no reason is given")
			}
			if hasSource := d.followed().Name == "n2"; hasSource != (d.Verb == VerbRejoin || d.Verb == VerbAsk) {
				t.Errorf("source %q with verb %s", d.Source.Name, d.Verb)
			}
			if outside := d.Source.Name == "primary at 10.9.0.1:5432"; outside != (d.Verb == VerbRejoin && f.Origin != nil) {
				t.Errorf("to be rewound from %q", d.Source.Name)
			}
			if stops := d.error() != nil; stops != (d.Verb == VerbWait || d.Verb == VerbRefuse) {
				t.Errorf("error %v with verb %s", d.error(), d.Verb)
			}
		})
	}
}

// Whatever etcd and the data directory say: with an answer of the leader's
// server in the facts there is nothing left to ask, and without one nothing is
// ever rewound.
func TestDecideAsksOnce(t *testing.T) {
	roles := []dcs.Role{
		"", dcs.RoleUnknown, dcs.RolePrimary, dcs.RolePromoting, dcs.RoleReplica, dcs.RoleStandbyLeader, dcs.RoleDemoted, dcs.RoleUninitialized,
	}
	for _, role := range roles {
		for bits := range 1 << 7 {
			on := func(i int) bool { return bits&(1<<i) != 0 }
			f := sound()
			f.Topology.Members[0].Role = role
			f.Local.Running, f.Local.StandbySignal, f.Local.Interrupted = on(0), on(1), on(2)
			f.Upstream.InRecovery, f.Upstream.Streaming = on(3), on(4)
			if on(5) {
				f.Topology.SystemID = 0
			}
			if on(6) {
				f.Name = "n2"
			}
			answered := Decide(f)
			if answered.Verb == VerbAsk {
				t.Errorf("asks again: %+v", f)
			}
			f.Upstream = nil
			asked := Decide(f)
			if asked.Verb == VerbRejoin || asked.Verb == VerbNothing {
				t.Errorf("%s without having asked the leader's server: %+v", asked.Verb, f)
			}
			if asked.Verb != VerbAsk && asked.Verb != answered.Verb {
				t.Errorf("the answer changes from %s to %s although it was not asked for: %+v", asked.Verb, answered.Verb, f)
			}
		}
	}
}
