package dcs

import (
	"net"
	"strconv"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// Layout names the way in which a cluster manager lays out its keys.
type Layout string

// The layouts that are understood.
const (
	LayoutPatroni Layout = "patroni"
	// LayoutPlain is for clusters without a manager: see ParsePlain.
	LayoutPlain Layout = "plain"
)

// Topology is what etcd says about one cluster at one revision.
type Topology struct {
	Layout Layout `json:"layout"`
	// Scope is the cluster's name, Prefix the key prefix it lives under, with
	// a slash at both ends.
	Scope  string `json:"scope"`
	Prefix string `json:"prefix"`
	// Revision of etcd's store at which all of this was true together.
	Revision int64 `json:"revision"`
	// SystemID of the cluster; zero while it is being bootstrapped.
	SystemID pg.SystemID `json:"system_id,omitzero"`
	// Leader is nil when nobody holds the leader key.
	Leader  *Leader  `json:"leader,omitempty"`
	Members []Member `json:"members"`
	Config  Config   `json:"config"`
}

// Leader is the holder of the leader key, with what tells one term of
// leadership from another.
type Leader struct {
	// Name of the member, the value of the key.
	Name string `json:"name"`
	// CreateRevision changes with every new term; ModRevision may not.
	CreateRevision int64 `json:"create_revision"`
	ModRevision    int64 `json:"mod_revision"`
	// Lease is the session of the holder; zero when the key has none.
	Lease int64 `json:"lease"`
}

// Same tells whether o is the same term of the same leader.
func (l Leader) Same(o Leader) bool {
	return l.Name == o.Name && l.CreateRevision == o.CreateRevision && l.Lease == o.Lease
}

// Role of a member, folded from the words that versions of a manager use.
type Role string

// The roles; an unknown word becomes RoleUnknown, an absent one too.
const (
	RoleUnknown       Role = "unknown"
	RolePrimary       Role = "primary"  // "master", "primary"
	RolePromoting     Role = "promoted" // promotion asked for, not finished
	RoleReplica       Role = "replica"
	RoleStandbyLeader Role = "standby_leader"
	RoleDemoted       Role = "demoted"
	RoleUninitialized Role = "uninitialized"
)

// Member is one node of the cluster as its manager reports it.
type Member struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
	// State is the manager's own word: "running", "streaming", "stopped", …
	State string `json:"state,omitempty"`
	// Replication is what the manager says of how a standby gets its WAL:
	// "streaming", "in archive recovery"; empty where it says nothing.
	Replication string `json:"replication_state,omitempty"`
	// ConnURL is how PostgreSQL is reached; Host and Port are taken from it.
	ConnURL string `json:"conn_url,omitempty"`
	Host    string `json:"host,omitempty"`
	Port    uint16 `json:"port,omitempty"`
	// APIURL is the manager's REST address on that node; may be empty.
	APIURL string `json:"api_url,omitempty"`
	// Timeline and LSN are zero when the manager did not report them: absent
	// is not zero.
	Timeline pg.Timeline `json:"timeline,omitempty"`
	LSN      pg.LSN      `json:"lsn,omitempty"`
	// CheckpointPending: promoted, but the checkpoint after it is not done
	// (Patroni's checkpoint_after_promote:false).
	CheckpointPending bool `json:"checkpoint_pending,omitempty"`
	// Paused: the member's manager has seen that the cluster is paused.
	Paused bool `json:"paused,omitempty"`
	// Version of the manager.
	Version string `json:"version,omitempty"`
	// Lease the member key hangs on; zero for none.
	Lease int64          `json:"lease,omitempty"`
	Tags  map[string]any `json:"tags,omitempty"`
}

// Config is the part of the cluster-wide configuration that matters here.
type Config struct {
	Paused bool `json:"paused,omitempty"`
	// UseSlots is the manager's postgresql.use_slots; true when not said.
	UseSlots bool `json:"use_slots"`
	// RestoreCommand is the manager's restore_command for all nodes; a shell
	// command, which may hold a secret.
	RestoreCommand string `json:"-"`
	// StandbyCluster: this cluster follows a primary outside of it, or its archive.
	StandbyCluster bool `json:"standby_cluster,omitempty"`
	// Primary is where that primary is: one of these servers. Empty where only an
	// archive is named, or what could not be connected to.
	Primary []Address `json:"primary,omitempty"`
	// ReplicaMethods is create_replica_methods of the section that counts: that of
	// the standby cluster, or else the manager's postgresql.
	ReplicaMethods []string `json:"replica_methods,omitempty"`
}

// Address is where a server listens.
type Address struct {
	Host string `json:"host"`
	Port uint16 `json:"port"`
}

// String is "host:port", with brackets around an IPv6 address.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// Member finds a member by name.
func (t Topology) Member(name string) (Member, bool) {
	for _, m := range t.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}
