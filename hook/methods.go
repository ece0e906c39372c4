package hook

import (
	"fmt"
	"strings"

	"github.com/failback-hook/failback-hook/dcs"
)

// ReplicaMethods are how the manager on this node makes a replica, as far as its own
// configuration says.
type ReplicaMethods struct {
	// Order in which they are tried; empty where the configuration has none.
	Order []string
	// Described are the methods that the configuration has a section of.
	Described map[string]ReplicaMethod
}

// ReplicaMethod is how a method is called.
type ReplicaMethod struct {
	// Command, with its arguments; it may hold a secret.
	Command string
	// KeepData: the manager leaves the data directory to it.
	KeepData bool
}

// ours tells whether it is this program's, as far as the command shows.
func (m ReplicaMethod) ours() bool {
	return strings.Contains(m.Command, "failback") || strings.Contains(m.Command, "create-replica")
}

// copyMethod is Patroni's own method, and its default: it removes the data directory
// and copies the leader's.
const copyMethod = "basebackup"

// wouldCopy says why a manager that is asked to make this node anew would remove its
// data directory; empty where it would not, and where that is not known. What only
// this node has would be gone, without a salvage. It is pure.
//
// In a standby cluster Patroni heeds no other methods than those of the section
// standby_cluster. Elsewhere a node's own file goes before what is kept in etcd.
func wouldCopy(local *ReplicaMethods, c dcs.Config) string {
	order := c.ReplicaMethods
	from := "in the cluster's configuration"
	switch {
	case c.StandbyCluster:
		from = "in standby_cluster.create_replica_methods"
	case local != nil && len(local.Order) > 0:
		order, from = local.Order, "in its own configuration"
	case local == nil && len(order) == 0:
		return "" // nobody knows
	}
	first := copyMethod
	if len(order) > 0 {
		first = order[0]
	} else {
		from += ", where there is none, by default"
	}
	if first == copyMethod {
		return fmt.Sprintf("the first replica method %s is %s, which removes this data directory and copies the leader's", from, copyMethod)
	}
	if local == nil {
		return ""
	}
	switch m, described := local.Described[first]; {
	case !described:
		return ""
	case !m.ours():
		return fmt.Sprintf("the first replica method %s is %s, whose command does not call failback-hook", from, first)
	case !m.KeepData:
		return fmt.Sprintf("the replica method %s has no keep_data: the data directory would be removed before it is called", first)
	}
	return ""
}
