package patroni

import (
	"strconv"
	"testing"

	"github.com/failback-hook/failback-hook/dcs"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// TestStandbyCluster: two data centres. The nodes of the second one follow the
// primary of the first; one of them was promoted by mistake, wrote, and died. It
// comes back in the way of the callbacks: rewound from the primary, which is not in
// its own cluster, and behind its own leader, which is a standby.
func TestStandbyCluster(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		leader, lost, primary := c.nodes[0], c.nodes[1], c.newNode(t, "primary")
		c.configureCallbacks(t)
		for _, n := range c.nodes {
			n.configure(t, n.example(t, "callbacks/patroni.yml"), object{"bootstrap": object{"dcs": object{"standby_cluster": object{
				"host": "127.0.0.1", "port": primary.Port, "create_replica_methods": []any{"basebackup"},
			}}}})
		}
		c.nodes = append(c.nodes, primary)
		primary.configure(t, object{"scope": "first"})
		primary.start(t)
		primary.leads(t)
		primary.Must(t).Exec("GRANT pg_monitor TO rewind_user", "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 5000) g")
		leader.start(t)
		c.await(t, "node1 to be the standby leader", func(top dcs.Topology) bool {
			m, _ := top.Member(leader.Name)
			return top.Leader != nil && top.Leader.Name == leader.Name && m.Role == dcs.RoleStandbyLeader
		})
		lost.start(t)
		c.cascades(t, lost, leader, primary)

		lost.patroni.end(t, 9)
		lost.Must(t).Promote()
		lost.Must(t).Exec("UPDATE t SET v = 'lost' WHERE id < 500", "CREATE TABLE only_here AS SELECT * FROM t")
		lost.Must(t).Kill()
		c.endLease(t, lost)
		primary.Must(t).Exec("UPDATE t SET v = 'new' WHERE id BETWEEN 300 AND 900")
		lost.start(t)
		// In a standby cluster Patroni heeds the methods of that section only. As it is
		// it would remove what only this node has.
		lost.workerSays(t, "the first replica method in standby_cluster.create_replica_methods is basebackup, which removes this data directory")
		lost.idle(t)
		c.ctl(t, "edit-config", scope, "--force", "--set", `standby_cluster.create_replica_methods=["failback", "basebackup"]`)
		lost.begin(t, "on_start", "replica", scope).end(t, 0)
		c.cascades(t, lost, leader, primary)
		lost.rewoundByMethod(t)
		lost.workerSays(t, "node2 was brought back into main by its manager and streams from node1.")
		lost.idle(t)
	})
}

// cascades waits until a node streams from the leader of its standby cluster and has
// what the primary has.
func (c *cluster) cascades(t *testing.T, n, leader, primary *node) {
	t.Helper()
	c.lost++
	table := "cascade_" + strconv.Itoa(c.lost)
	primary.Must(t).Exec("CREATE TABLE " + table + " AS SELECT now() AS at")
	until(t, n.Name+" to have what the primary has written", func() bool {
		v, err := n.Value("SELECT to_regclass('" + table + "')")
		return err == nil && v != ""
	})
	rewindtest.CompareTables(t, n.Node, primary.Node)
	until(t, n.Name+" to stream from "+leader.Name, func() bool {
		v, err := leader.Value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '" + n.Name + "'")
		return err == nil && v == "1"
	})
	c.note(t, n.Name+" streams from "+leader.Name)
}
