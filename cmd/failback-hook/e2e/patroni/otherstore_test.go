package patroni

import (
	"net/http"
	"strings"
	"testing"
)

// TestOtherStore: a Patroni that keeps its keys by etcd's v2 API, where this program
// finds none. As a replica method it rewinds from the server that Patroni names; all
// else says what is possible.
func TestOtherStore(t *testing.T) {
	forEachRelease(t, func(t *testing.T, r release) {
		c := newCluster(t, r, 2)
		old, successor := c.nodes[0], c.nodes[1]
		for _, n := range c.nodes {
			n.configure(t, n.example(t, "replica-method/patroni.yml"), object{
				"etcd3": nil, "etcd": object{"host": c.address}, "postgresql": object{"use_pg_rewind": false},
			})
			n.write(t, n.ownConfig(), object{"patroni_config": n.configFile()})
		}
		old.start(t)
		old.leads(t)
		old.Must(t).Exec("GRANT pg_monitor TO rewind_user", "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 5000) g")
		successor.start(t)
		c.streams(t, successor, old)

		c.holdSenders(t, old)
		old.Must(t).Exec("UPDATE t SET v = 'lost' WHERE id < 500", "CREATE TABLE only_here AS SELECT * FROM t")
		old.crash(t)
		for _, key := range []string{"leader", "members/" + old.Name} {
			c.removeV2(t, key)
		}
		successor.leads(t)
		successor.Must(t).Exec("UPDATE t SET v = 'new' WHERE id BETWEEN 300 AND 900")
		old.start(t)
		until(t, old.Name+" to run", func() bool {
			v, err := old.Value("SELECT pg_is_in_recovery()")
			return err == nil && v == "t"
		})

		refused := old.begin(t, "--dry-run").end(t, 13)
		if !strings.Contains(refused.stderr.String(), "failback-hook create-replica") {
			t.Errorf("without a reason or a way out:\n%s", refused.stderr.String())
		}
		c.ctl(t, "reinit", scope, old.Name, "--force")
		c.follows(t, old, successor)
		old.rewoundByMethod(t)
		if log := tail(old.patroni.log, 1<<20); !strings.Contains(log, "there is no lock, and the leader is the server that Patroni names") {
			t.Errorf("it does not say how it found the leader:\n%s", log)
		}
	})
}

// leads waits until a node's Patroni says that it leads, which it does early, and its
// server too.
func (n *node) leads(t *testing.T) {
	t.Helper()
	until(t, n.Name+" to lead", func() bool {
		resp, err := http.Get("http://" + n.rest + "/primary") //nolint:noctx // the wait has its own end
		if err == nil {
			resp.Body.Close()
		}
		if err != nil || resp.StatusCode != http.StatusOK {
			return false
		}
		v, err := n.Value("SELECT pg_is_in_recovery()")
		return err == nil && v == "f"
	})
}

// removeV2 ends the time of a dead Patroni's key in the store of etcd's v2 API.
func (c *cluster) removeV2(t *testing.T, key string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+c.address+"/v2/keys/service/"+scope+"/"+key, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("remove %s: %s", key, resp.Status)
	}
}
