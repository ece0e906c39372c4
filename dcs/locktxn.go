package dcs

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
)

// lockKeys are the names of one lock's keys. Names of members are escaped: a
// slash in one must not make it another key.
type lockKeys struct {
	leader string // the manager's leader key, read only
	nodes  string // prefix of the node keys of this cluster
	node   string
	slots  string // prefix of all slots of this leader
	slot   string // ours, once chosen
	queue  string // prefix of all places in the queue for this leader
	place  string // ours, if we wait
}

// lockKeys names the keys of a lock of member, rejoining from leader.
func (c *Client) lockKeys(member, leader string) lockKeys {
	return newLockKeys(c.prefix, c.cfg.lockRoot(), member, leader)
}

func newLockKeys(prefix, root, member, leader string) lockKeys {
	of := url.PathEscape(leader) + "/"
	return lockKeys{
		leader: prefix + "leader",
		nodes:  root + nodesDir,
		node:   root + nodesDir + url.PathEscape(member),
		slots:  root + leadersDir + of,
		queue:  root + queueDir + of,
		place:  root + queueDir + of + url.PathEscape(member),
	}
}

// What lies below the root of a cluster's own keys.
const (
	nodesDir   = "nodes/"
	leadersDir = "leaders/"
	queueDir   = "queue/"
)

// one compares a property of one key.
func one(key string, p property, number int64) cond {
	return cond{keyRange: keyRange{key: key}, property: p, number: number}
}

// sameTerm are the comparisons by which a transaction holds only while the
// leader key is the one that was decided on.
func (k lockKeys) sameTerm(l Leader) []cond {
	return []cond{
		{keyRange: keyRange{key: k.leader}, property: propValue, text: l.Name},
		one(k.leader, propCreate, l.CreateRevision),
		one(k.leader, propLease, l.Lease),
	}
}

// ours are the comparisons that hold while both keys are those that lease put
// at revision token.
func (k lockKeys) ours(token, lease int64) []cond {
	return []cond{
		one(k.node, propCreate, token), one(k.node, propLease, lease),
		one(k.slot, propCreate, token), one(k.slot, propLease, lease),
	}
}

// observe are the reads that tell why a transaction did not hold.
func (k lockKeys) observe() []keyRange {
	return []keyRange{{key: k.leader}, under(k.nodes), under(k.slots), under(k.queue)}
}

// look only reads.
func (k lockKeys) look() txn { return txn{reads: k.observe()} }

// take puts the node key and the slot, and leaves the queue: in one transaction
// that holds only while the leader is the one that was decided on, neither key
// exists, and nobody waits in front of us. Without a place (zero) that means an
// empty queue. With one that is still there, nothing has to be compared: who was
// seen to be first stays first, as later places have later revisions.
func (k lockKeys) take(leader Leader, place, lease int64, record string) txn {
	t := txn{
		conds:  append(k.sameTerm(leader), one(k.node, propCreate, 0), one(k.slot, propCreate, 0)),
		writes: []write{{key: k.node, value: record, lease: lease}, {key: k.slot, value: record, lease: lease}},
		reads:  k.observe(),
	}
	if place == 0 {
		t.conds = append(t.conds, cond{keyRange: under(k.queue), property: propCreate})
		return t
	}
	t.conds = append(t.conds, one(k.place, propCreate, place))
	t.writes = append(t.writes, write{key: k.place, remove: true})
	return t
}

// join puts a place at the end of the queue: its create revision is its number.
func (k lockKeys) join(lease int64, record string) txn {
	return txn{
		conds:  []cond{one(k.place, propCreate, 0)},
		writes: []write{{key: k.place, value: record, lease: lease}},
		reads:  k.observe(),
	}
}

// check does nothing and holds while lock and leader are what they were.
func (k lockKeys) check(leader Leader, token, lease int64) txn {
	return txn{conds: append(k.sameTerm(leader), k.ours(token, lease)...), reads: k.observe()}
}

// update writes the node key anew, as long as both keys are ours.
func (k lockKeys) update(token, lease int64, record string) txn {
	return txn{conds: k.ours(token, lease), writes: []write{{key: k.node, value: record, lease: lease}}}
}

// observed is what observe found, all at one revision: the leader, and the
// keys of ours that exist.
type observed struct {
	leader *Leader
	held   map[string]heldKey
	// queue are the keys of the places of this leader's queue, first come first.
	queue []string
}

// heldKey is a key of ours that exists.
type heldKey struct {
	owner  Owner
	create int64
	lease  int64
}

// readObserved reads the answer to observe.
func (k lockKeys) readObserved(a answer) (observed, error) {
	if len(a.found) != len(k.observe()) {
		return observed{}, fmt.Errorf("%d answers to %d reads", len(a.found), len(k.observe()))
	}
	o := observed{held: map[string]heldKey{}}
	for _, kv := range a.found[0] {
		o.leader = &Leader{Name: string(kv.Value), CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease}
	}
	for _, list := range a.found[1:] {
		for _, kv := range list {
			o.held[kv.Key] = heldKey{owner: decodeOwner(kv.Key, kv.Value), create: kv.CreateRevision, lease: kv.Lease}
		}
	}
	for _, kv := range a.found[3] {
		o.queue = append(o.queue, kv.Key)
	}
	slices.SortFunc(o.queue, func(a, b string) int { return cmp.Compare(o.held[a].create, o.held[b].create) })
	return o, nil
}

// freeSlot is the first slot that nobody holds, and otherwise who holds the
// first one.
func (k lockKeys) freeSlot(o observed, limit int) (slot string, holder *LockedError) {
	for i := range limit {
		key := k.slots + strconv.Itoa(i)
		held, taken := o.held[key]
		if !taken {
			return key, nil
		}
		if holder == nil {
			holder = &LockedError{Key: key, Owner: k.withProgress(o, held.owner)}
		}
	}
	return "", holder
}

// withProgress gives a slot's owner the progress, which is in the node's key.
func (k lockKeys) withProgress(o observed, owner Owner) Owner {
	if node, ok := o.held[k.nodes+url.PathEscape(owner.Member)]; ok {
		owner.Progress = node.owner.Progress
	}
	return owner
}

// holders are those who hold this leader's slots, in the order of the slots.
func (k lockKeys) holders(o observed, limit int) []Owner {
	var list []Owner
	for i := range limit {
		if held, ok := o.held[k.slots+strconv.Itoa(i)]; ok {
			list = append(list, k.withProgress(o, held.owner))
		}
	}
	return list
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

// lost explains what is no longer ours of the keys that lease put at revision
// token; nil when both are.
func (k lockKeys) lost(o observed, token, lease int64) error {
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

// verdict is what follows from the answer to check: nil only if it held.
func (k lockKeys) verdict(a answer, leader Leader, token, lease int64) error {
	if a.held {
		return nil
	}
	seen, err := k.readObserved(a)
	if err != nil {
		return err
	}
	err = k.lost(seen, token, lease)
	if seen.leader == nil || !seen.leader.Same(leader) {
		changed := leaderChanged(leader, seen.leader)
		if err == nil {
			return changed
		}
		return fmt.Errorf("%w; %w", err, changed)
	}
	if err == nil { // it did not hold a moment ago, and all is as it should be: not possible in one transaction
		err = fmt.Errorf("%w: the comparison failed", ErrLockLost)
	}
	return err
}
