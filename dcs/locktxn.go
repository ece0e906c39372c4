package dcs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lockKeys are the names of one lock's keys. Names of members are escaped: a
// slash in one must not make it another key.
type lockKeys struct {
	leader string // the manager's leader key, read only
	node   string
	slots  string // prefix of all slots of this leader
	slot   string // ours, once chosen
}

// nodesPrefix is where the node keys of this cluster lie.
func (c *Client) nodesPrefix() string { return c.cfg.lockRoot() + "nodes/" }

// lockKeys names the keys of a lock of member, rejoining from leader.
func (c *Client) lockKeys(member, leader string) lockKeys {
	return lockKeys{
		leader: c.prefix + "leader",
		node:   c.nodesPrefix() + url.PathEscape(member),
		slots:  c.cfg.lockRoot() + "leaders/" + url.PathEscape(leader) + "/",
	}
}

// sameTerm are the comparisons by which a transaction holds only while the
// leader key is the one that was decided on.
func (k lockKeys) sameTerm(l Leader) []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.Value(k.leader), "=", l.Name),
		clientv3.Compare(clientv3.CreateRevision(k.leader), "=", l.CreateRevision),
		clientv3.Compare(clientv3.LeaseValue(k.leader), "=", clientv3.LeaseID(l.Lease)),
	}
}

// ours are the comparisons that hold while both keys are those that lease put
// at revision token.
func (k lockKeys) ours(token int64, lease clientv3.LeaseID) []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for _, key := range []string{k.node, k.slot} {
		cmps = append(cmps,
			clientv3.Compare(clientv3.CreateRevision(key), "=", token),
			clientv3.Compare(clientv3.LeaseValue(key), "=", lease))
	}
	return cmps
}

// observe are the reads that tell why a transaction did not hold.
func (k lockKeys) observe() []clientv3.Op {
	return []clientv3.Op{clientv3.OpGet(k.leader), clientv3.OpGet(k.node), clientv3.OpGet(k.slots, clientv3.WithPrefix())}
}

// observed is what observe found, all at one revision: the leader, and the
// lock keys that exist.
type observed struct {
	leader *Leader
	held   map[string]heldKey
}

// heldKey is a lock key that exists.
type heldKey struct {
	owner  Owner
	create int64
	lease  clientv3.LeaseID
}

// readObserved reads the answer to observe.
func (k lockKeys) readObserved(resp *clientv3.TxnResponse) (observed, error) {
	if len(resp.Responses) != 3 {
		return observed{}, fmt.Errorf("%d answers to 3 reads", len(resp.Responses))
	}
	o := observed{held: map[string]heldKey{}}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		o.leader = &Leader{Name: string(kv.Value), CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease}
	}
	for _, r := range resp.Responses[1:] {
		for _, kv := range r.GetResponseRange().Kvs {
			key := string(kv.Key)
			o.held[key] = heldKey{owner: decodeOwner(key, kv.Value), create: kv.CreateRevision, lease: clientv3.LeaseID(kv.Lease)}
		}
	}
	return o, nil
}

// refusal tells why the lock cannot be had in this state; nil when it can.
// Otherwise slot is the key to try for.
func (k lockKeys) refusal(o observed, want Leader, limit int) (slot string, err error) {
	if o.leader == nil || !o.leader.Same(want) {
		return "", leaderChanged(want, o.leader)
	}
	if node, taken := o.held[k.node]; taken {
		return "", &LockedError{Key: k.node, Owner: node.owner}
	}
	var holder *LockedError
	for i := range limit {
		key := k.slots + strconv.Itoa(i)
		slot, taken := o.held[key]
		if !taken {
			return key, nil
		}
		if holder == nil {
			holder = &LockedError{Key: key, Owner: slot.owner}
		}
	}
	return "", holder
}

// leaderChanged says what the leader key was and what it is.
func leaderChanged(was Leader, is *Leader) error {
	switch {
	case is == nil:
		return fmt.Errorf("%w: %q held the leader key, now nobody does", ErrLeaderChanged, was.Name)
	case is.Name != was.Name:
		return fmt.Errorf("%w: from %q to %q", ErrLeaderChanged, was.Name, is.Name)
	default:
		return fmt.Errorf("%w: %q began a new term (create revision %d → %d, lease %x → %x)",
			ErrLeaderChanged, was.Name, was.CreateRevision, is.CreateRevision, was.Lease, is.Lease)
	}
}

// decodeOwner reads the record in a lock key. A record that cannot be read
// still means that the lock is held: what the key's name tells is returned.
func decodeOwner(key string, value []byte) Owner {
	var o Owner
	if err := json.Unmarshal(value, &o); err != nil {
		o = Owner{Operation: "an unreadable record"}
	}
	if o.Member == "" && strings.Contains(key, "/nodes/") {
		o.Member = key[strings.LastIndexByte(key, '/')+1:]
		if name, err := url.PathUnescape(o.Member); err == nil {
			o.Member = name
		}
	}
	return o
}

// Holder returns who holds the lock of a member's node; false when nobody
// does.
func (c *Client) Holder(ctx context.Context, member string) (Owner, bool, error) {
	key := c.lockKeys(member, "").node
	resp, err := retry(ctx, c, "read lock", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, key)
	})
	if err != nil || len(resp.Kvs) == 0 {
		return Owner{}, false, err
	}
	return decodeOwner(key, resp.Kvs[0].Value), true, nil
}

// Locks returns the holders of all node locks of the cluster, in the order of
// the members' names.
func (c *Client) Locks(ctx context.Context) ([]Owner, error) {
	resp, err := retry(ctx, c, "list locks", c.cfg.RequestTimeout, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return c.etcd.Get(ctx, c.nodesPrefix(), clientv3.WithPrefix())
	})
	if err != nil {
		return nil, err
	}
	owners := make([]Owner, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		owners[i] = decodeOwner(string(kv.Key), kv.Value)
	}
	return owners, nil
}

// lost explains what is no longer ours of the keys that lease put at revision
// token; nil when both are.
func (k lockKeys) lost(o observed, token int64, lease clientv3.LeaseID) error {
	for _, key := range []string{k.node, k.slot} {
		is, exists := o.held[key]
		switch {
		case !exists:
			return fmt.Errorf("%w: key %s is gone", ErrLockLost, key)
		case is.create != token || is.lease != lease:
			return fmt.Errorf("%w: %w", ErrLockLost, &LockedError{Key: key, Owner: is.owner})
		}
	}
	return nil
}
