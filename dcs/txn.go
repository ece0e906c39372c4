package dcs

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// txn is a transaction of etcd's as data: if all comparisons hold the writes
// are made, otherwise the reads; with neither of the former it only reads. Being data
// it can be carried out by etcd (commit) and by the model of etcd that the
// protocol of the lock is checked with, and both mean the same transaction.
type txn struct {
	conds  []cond
	writes []write
	reads  []keyRange
}

// onlyReads: there is nothing to hold.
func (t txn) onlyReads() bool { return len(t.conds)+len(t.writes) == 0 }

// keyRange is one key, or all from key up to end where that is not empty.
type keyRange struct{ key, end string }

// under is the range of all keys that begin with prefix.
func under(prefix string) keyRange {
	return keyRange{key: prefix, end: clientv3.GetPrefixRangeEnd(prefix)}
}

// property is what a comparison looks at.
type property string

// The properties.
const (
	propValue  property = "value"
	propCreate property = "create revision"
	propLease  property = "lease"
)

// cond is one comparison: the property is equal to number, or text. Over a range it holds if it does for every key in it;
// a key that does not exist, and an empty range, count as revision and lease 0.
type cond struct {
	keyRange
	property property
	number   int64
	text     string
}

// write puts a key on a lease, or deletes it.
type write struct {
	key, value string
	lease      int64
	remove     bool
}

// answer is what a transaction came to.
type answer struct {
	// held: all comparisons held and the writes were made.
	held     bool
	revision int64
	// found are the answers to the reads, in their order.
	found [][]KeyValue
}

// cmp is the comparison as the client library wants it.
func (c cond) cmp() clientv3.Cmp {
	var out clientv3.Cmp
	switch c.property {
	case propValue:
		out = clientv3.Compare(clientv3.Value(c.key), "=", c.text)
	case propLease:
		out = clientv3.Compare(clientv3.LeaseValue(c.key), "=", clientv3.LeaseID(c.number))
	default:
		out = clientv3.Compare(clientv3.CreateRevision(c.key), "=", c.number)
	}
	if c.end != "" {
		out = out.WithRange(c.end)
	}
	return out
}

// commit has etcd carry out a transaction, once.
func (c *Client) commit(ctx context.Context, t txn) (answer, error) {
	var cmps []clientv3.Cmp
	for _, cond := range t.conds {
		cmps = append(cmps, cond.cmp())
	}
	var reads, writes []clientv3.Op
	for _, r := range t.reads {
		var opts []clientv3.OpOption
		if r.end != "" {
			opts = append(opts, clientv3.WithRange(r.end))
		}
		reads = append(reads, clientv3.OpGet(r.key, opts...))
	}
	for _, w := range t.writes {
		if w.remove {
			writes = append(writes, clientv3.OpDelete(w.key))
			continue
		}
		writes = append(writes, clientv3.OpPut(w.key, w.value, clientv3.WithLease(clientv3.LeaseID(w.lease))))
	}
	request := c.etcd.Txn(ctx)
	if t.onlyReads() {
		request = request.Then(reads...)
	} else {
		request = request.If(cmps...).Then(writes...).Else(reads...)
	}
	resp, err := request.Commit()
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp, t)
}

// readAnswer takes the answer apart.
func readAnswer(resp *clientv3.TxnResponse, t txn) (answer, error) {
	a := answer{held: resp.Succeeded && !t.onlyReads(), revision: resp.Header.Revision}
	if a.held {
		return a, nil
	}
	if len(resp.Responses) != len(t.reads) {
		return answer{}, fmt.Errorf("%d answers to %d reads", len(resp.Responses), len(t.reads))
	}
	for _, r := range resp.Responses {
		a.found = append(a.found, keyValues(r.GetResponseRange()))
	}
	return a, nil
}

// keyValues copies what a range read has found.
func keyValues(r *pb.RangeResponse) []KeyValue {
	list := make([]KeyValue, len(r.GetKvs()))
	for i, kv := range r.GetKvs() {
		list[i] = KeyValue{Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease}
	}
	return list
}
