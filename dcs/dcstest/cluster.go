package dcstest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// sessionTTL is the life of the leases of pretended members, in seconds: longer
// than any test or demonstration, because nobody renews them.
const sessionTTL = 3600

// Member is the value of a member key as Patroni 4 writes it.
type Member struct {
	Name     string         `json:"-"`
	ConnURL  string         `json:"conn_url"`
	APIURL   string         `json:"api_url,omitempty"`
	State    string         `json:"state"`
	Role     string         `json:"role"`
	Version  string         `json:"version,omitempty"`
	Tags     map[string]any `json:"tags,omitempty"`
	LSN      uint64         `json:"xlog_location,omitempty"`
	Timeline uint32         `json:"timeline,omitempty"`
	// Checkpoint is nil when the checkpoint after promotion is done, and
	// points to false while it is not.
	Checkpoint *bool `json:"checkpoint_after_promote,omitempty"`
}

// Spec is a cluster to be written.
type Spec struct {
	Namespace string // "service" when empty
	Scope     string
	SystemID  uint64
	Leader    string // empty for none
	Members   []Member
	// Config, History and Status are JSON; an empty History or Status is left
	// out, an empty Config is Patroni's usual one.
	Config, History, Status string
}

// Cluster pretends to be the Patroni processes of one cluster: it holds their
// leases and changes their keys.
type Cluster struct {
	Prefix string

	etcd   *clientv3.Client
	leases map[string]clientv3.LeaseID
}

// PutCluster writes a cluster and returns the handle to change it. The client
// must stay open as long as the handle is used.
func PutCluster(ctx context.Context, etcd *clientv3.Client, spec Spec) (*Cluster, error) {
	if spec.Namespace == "" {
		spec.Namespace = "service"
	}
	if spec.Config == "" {
		spec.Config = `{"ttl":30,"loop_wait":10,"retry_timeout":10,"maximum_lag_on_failover":1048576,"postgresql":{"use_pg_rewind":false,"use_slots":true}}`
	}
	c := &Cluster{Prefix: "/" + spec.Namespace + "/" + spec.Scope + "/", etcd: etcd, leases: map[string]clientv3.LeaseID{}}
	plain := map[string]string{
		"initialize": strconv.FormatUint(spec.SystemID, 10), "config": spec.Config,
		"history": spec.History, "status": spec.Status,
	}
	for key, value := range plain {
		if value == "" {
			continue
		}
		if err := c.Put(ctx, key, value); err != nil {
			return nil, err
		}
	}
	for _, m := range spec.Members {
		if err := c.PutMember(ctx, m); err != nil {
			return nil, err
		}
	}
	if spec.Leader == "" {
		return c, nil
	}
	return c, c.SetLeader(ctx, spec.Leader)
}

// MustPutCluster is PutCluster for tests.
func MustPutCluster(t testing.TB, etcd *clientv3.Client, spec Spec) *Cluster {
	t.Helper()
	c, err := PutCluster(t.Context(), etcd, spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Put writes a key below the prefix, without a lease.
func (c *Cluster) Put(ctx context.Context, key, value string) error {
	_, err := c.etcd.Put(ctx, c.Prefix+key, value)
	return wrap("put "+key, err)
}

// PutMember writes a member's key on the member's lease.
func (c *Cluster) PutMember(ctx context.Context, m Member) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write member %s: %w", m.Name, err)
	}
	lease, err := c.session(ctx, m.Name)
	if err != nil {
		return err
	}
	_, err = c.etcd.Put(ctx, c.Prefix+"members/"+m.Name, string(value), clientv3.WithLease(lease))
	return wrap("put member "+m.Name, err)
}

// SetLeader ends the present term and begins one of the member, as a failover
// does: the key is deleted and made anew.
func (c *Cluster) SetLeader(ctx context.Context, name string) error {
	if err := c.RemoveLeader(ctx); err != nil {
		return err
	}
	return c.putLeader(ctx, name)
}

// TouchLeader writes the leader key again with the same value and lease: the
// modification revision changes, the term does not.
func (c *Cluster) TouchLeader(ctx context.Context, name string) error { return c.putLeader(ctx, name) }

// RemoveLeader deletes the leader key.
func (c *Cluster) RemoveLeader(ctx context.Context) error {
	_, err := c.etcd.Delete(ctx, c.Prefix+"leader")
	return wrap("delete leader", err)
}

// Crash ends a member's session: its key, and the leader key if it holds it,
// vanish at once.
func (c *Cluster) Crash(ctx context.Context, name string) error {
	lease, ok := c.leases[name]
	if !ok {
		return nil
	}
	delete(c.leases, name)
	_, err := c.etcd.Revoke(ctx, lease)
	return wrap("revoke session of "+name, err)
}

// Renew gives a member a new session, as a restart of its Patroni does. The
// keys stay on the old one until they are written again.
func (c *Cluster) Renew(ctx context.Context, name string) error {
	delete(c.leases, name)
	_, err := c.session(ctx, name)
	return err
}

func (c *Cluster) putLeader(ctx context.Context, name string) error {
	lease, err := c.session(ctx, name)
	if err != nil {
		return err
	}
	_, err = c.etcd.Put(ctx, c.Prefix+"leader", name, clientv3.WithLease(lease))
	return wrap("put leader "+name, err)
}

// session is the lease of a member, granted when it is first needed.
func (c *Cluster) session(ctx context.Context, name string) (clientv3.LeaseID, error) {
	if lease, ok := c.leases[name]; ok {
		return lease, nil
	}
	resp, err := c.etcd.Grant(ctx, sessionTTL)
	if err != nil {
		return 0, fmt.Errorf("grant session of %s: %w", name, err)
	}
	c.leases[name] = resp.ID
	return resp.ID, nil
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
